"""The plan of `bitlm bench all`: every benchmark is in it, as a command line that is understood, and the files are found."""

from __future__ import annotations

import math
import struct
from collections import Counter
from pathlib import Path

from typer.main import get_command

from bitlm_mcp.bench_all.cases import PLAN
from bitlm_mcp.bench_all.derived import flat, share_of_lpaq1, weakest_catch
from bitlm_mcp.bench_all.inputs import Inputs
from bitlm_mcp.bench_all.plan import LANES, low
from bitlm_mcp.bench_app import COMMANDS, bench

MINUTES = 38
WITHOUT_MEASURING = {"all", "figures"}


def test_every_benchmark_is_planned() -> None:
    assert {case.benchmark for case in PLAN} == COMMANDS.keys() - WITHOUT_MEASURING


def test_every_case_has_a_name_of_its_own_and_figures() -> None:
    assert max(Counter(case.name for case in PLAN).values()) == 1
    for case in PLAN:
        names = [figure.name for figure in case.figures]
        assert names and len(set(names)) == len(names), case.name
        for figure in case.figures:
            assert figure.better or (figure.limit is None and figure.goal is None), figure


def test_it_fits_into_the_time() -> None:
    assert sum(case.seconds / (1 if case.alone else LANES) for case in PLAN) < 60 * MINUTES


def test_its_command_lines_are_understood() -> None:
    commands = get_command(bench).commands  # type: ignore[attr-defined]  # a group, as typer makes it
    for case in PLAN:
        for with_data in {False, bool(case.data)}:
            name, *arguments = case.command_line(lambda reference: reference.replace(":", "-"), with_data=with_data)
            with commands[name].make_context(name, arguments) as context:
                assert context.params["json_only"] is True, case.name


def test_files_are_found_by_name_below_the_folder(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "obj2").write_bytes(b"abc")
    inputs = Inputs(tmp_path, tmp_path)
    assert inputs.path("obj2") == tmp_path / "deep" / "obj2" and len(inputs.digest("obj2")) == 16
    assert inputs.path("absent") is None and inputs.path("absent:first") is None and inputs.digest("absent") == ""
    assert Inputs(None, tmp_path).path("obj2") is None
    (tmp_path / "deep" / "model.py").write_text("pass")
    before = inputs.digest("deep")
    (tmp_path / "deep" / "model.py").write_text("...")
    assert inputs.path("deep") == tmp_path / "deep" and len(before) == 16 and inputs.digest("deep") != before


def part(inputs: Inputs, reference: str) -> bytes:
    path = inputs.path(reference)
    assert path is not None
    return path.read_bytes()


def test_halves_are_all_there_is(tmp_path: Path) -> None:
    packets = [bytes([number]) * (number + 1) for number in range(5)]
    header = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65_535, 1)
    framed = [struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet for packet in packets]
    (tmp_path / "some.pcap").write_bytes(header + b"".join(framed))
    (tmp_path / "some.log").write_bytes(b"one\ntwo\nthree\nfour")
    inputs = Inputs(tmp_path, tmp_path)
    assert part(inputs, "some.log:first") == b"one\ntwo\n" and part(inputs, "some.log:second") == b"three\nfour"
    assert part(inputs, "some.pcap:first") == header + b"".join(framed[:2])
    assert part(inputs, "some.pcap:second") == header + b"".join(framed[2:])


def test_what_is_ranked_was_not_learned(tmp_path: Path) -> None:
    lines = [b"- 0\n", b"ALERT 1\n", b"- 2\n", b"- 3\n", b"- 4\n", b"- 5\n"]
    (tmp_path / "labels.log").write_bytes(b"".join(lines))
    inputs = Inputs(tmp_path, tmp_path)
    assert part(inputs, "labels.log:normal") == b"- 0\n- 2\n- 5\n"
    assert part(inputs, "labels.log:ranked") == b"ALERT 1\n- 3\n- 4\n"


def test_figures_that_follow_from_others() -> None:
    told = {"files": {"obj2": {"bpb": 0.98, "num_bytes": 100, "seconds": 2.0, "peak_bytes": 1 << 21}, "x": [1]}, "y": math.nan}
    assert flat(told)["y"] is None and flat(told)["files.obj2.bpb"] == 0.98 and "files.x" not in flat(told)
    found = share_of_lpaq1(flat(told))
    assert found["ratio_to_lpaq1"] == 0.5 and found["bytes_per_second"] == 50 and found["peak_mib"] == 2
    assert weakest_catch({"caught_noise": 1.0, "caught_other_data": None, "caught_cycle": 0.5, "passed": 0.1}) == {
        "caught_least": 0.5
    }
    assert low("cost", "cost", limit=1.0).reaches(1.0, 1.0) and not low("cost", "cost").reaches(1.0, 1.1)
