"""Every example runs, prints what it says it does, and stands in the table of examples/README.md."""

from __future__ import annotations

import ast
import os
import re
import runpy
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import IO

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = sorted(path.name for path in (ROOT / "examples").glob("*.py"))

ODD = b"07:14:02 web-2 kernel: Out of memory: killed process 4711\n"


@pytest.fixture
def printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What an example prints; it runs in this process, which has loaded torch already."""

    def run(name: str, *arguments: str) -> str:
        monkeypatch.chdir(ROOT)
        monkeypatch.setattr(sys, "argv", [f"examples/{name}", *arguments])
        runpy.run_path(f"examples/{name}", run_name="__main__")
        return capsys.readouterr().out

    return run


def numbers(line: str) -> list[float]:
    """Those in a line of output, percentages and thousands too."""
    return [float(found.replace(",", "")) for found in re.findall(r"(?<![\w.])\d[\d,]*(?:\.\d+)?", line)]


def line_with(out: str, words: str) -> list[float]:
    """The numbers of the first line that holds these words, which are left out."""
    return numbers(next(line for line in out.splitlines() if words in line).replace(words, ""))


def test_anomaly_watch(printed: Callable[..., str]) -> None:
    out = printed("anomaly_watch.py", "--quick")
    found, odd, others = line_with(out, "odd lines were found")
    assert found == odd == 3 and others <= 3


def test_bytes_of_any_kind(printed: Callable[..., str]) -> None:
    assert "2 of 2 files cost at least a twentieth less than before" in printed("bytes_of_any_kind.py", "30")


def test_core_in_20_lines(printed: Callable[..., str]) -> None:
    out = printed("core_in_20_lines.py", "examples/core_in_20_lines.py", "10")
    assert "saved, and loaded again at step 10" in out
    assert line_with(out, "of what it learned, a byte costs")[0] < 2


def test_edge_model(printed: Callable[..., str]) -> None:
    out = printed("edge_model.py", "--quick")
    rows = {name: line_with(out, name) for name in ("grown     ", "distilled", "that in int8", "that in int4")}
    (parameters, size, _), (fewer, smaller, known) = rows["grown     "], rows["distilled"]
    assert "the growth by width is kept" in out and fewer < parameters / 4 and smaller < size / 4
    assert rows["that in int8"][1] < 0.3 * smaller and rows["that in int4"][1] < rows["that in int8"][1]
    assert abs(rows["that in int8"][2] - known) < 0.05 and abs(rows["that in int4"][2] - known) < 0.2
    assert "loaded, it goes on:" in out


def test_infill(printed: Callable[..., str]) -> None:
    out = printed("infill.py", "--quick")
    came_back, hidden, _ = line_with(out, "both sides:")
    assert came_back > 0 and hidden == 75
    holed, likeliest, drawn, truth = re.split(
        r"\n\n(?:what is likeliest|drawn, valid UTF-8|what stood there):\n", out.rstrip("\n")
    )
    holed = holed.split("\n\n", 1)[1]
    assert len(holed) == len(truth) and "░" in holed and "░" not in likeliest + drawn
    marked = dict(enumerate(holed))
    assert all(mark in ("░", truth[at]) and (mark == "░" or drawn[at] == likeliest[at] == mark) for at, mark in marked.items())


def test_long_context(printed: Callable[..., str]) -> None:
    out = printed("long_context.py", "--quick")
    carried, alone = line_with(out, "carried on:"), line_with(out, "each alone:")
    assert carried[2] == alone[2] == 1000
    assert carried[0] < alone[0] < 8


def test_metric_plots(printed: Callable[..., str], tmp_path: Path) -> None:
    assert "4 pictures in" in printed("metric_plots.py", str(tmp_path), "4")
    assert {path.name for path in tmp_path.iterdir()} == {"healthy.svg", "noise.svg", "broken.svg", "shift.svg"}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_distributed_run(printed: Callable[..., str]) -> None:
    """Beside tests/mcp/test_several_processes.py, which starts two processes too."""
    out = printed("distributed_run.py", "README.md", "4")
    assert "went on with what two had learned, to step 6" in out
    apart = re.search(r"in another order: (\S+)", out)
    assert apart is not None and float(apart[1]) < 1e-3


def test_record_store(printed: Callable[..., str]) -> None:
    out = printed("record_store.py", "--quick")
    assert "20 of 20 records read alone, in any order, are what was stored" in out and "are, too: True" in out
    ours, dictionary, alone = (
        line_with(out, words)[0] for words in ("with their index", "dictionary of the", "zlib -9, each alone")
    )
    assert ours < dictionary < alone


def test_repair_file(printed: Callable[..., str]) -> None:
    out = printed("repair_file.py", "--quick")
    left, guessed, known, found = (
        line_with(out, f"{words}:")[0] for words in ("as it is", "byte", "places known", "not known")
    )
    assert left == 0 and guessed < found <= known


def session_of(name: str, *arguments: str) -> str:
    """What an agent's example prints as a program, with a server of its own; tests/mcp/test_agents.py is quicker."""
    alone = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, f"examples/{name}", *arguments]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout


@pytest.mark.slow
def test_agent_loop() -> None:
    assert "The oddest is line 41: 12:00:41 web-1 GET /../../etc/passwd" in session_of("agent_loop.py")


@pytest.mark.slow
def test_agent_session() -> None:
    assert "saved at step 2" in session_of("agent_session.py", "LICENSE", "2")


def test_no_example_is_left_out() -> None:
    tests = {name.removeprefix("test_") + ".py" for name, value in globals().items() if callable(value)}
    assert set(EXAMPLES) <= tests


# A log that is followed


def test_a_log_is_followed_through_all_that_happens_to_logs(tmp_path: Path) -> None:
    """Appended to in parts of lines, rotated twice, for a moment not there, truncated: each whole line comes, once."""
    log = tmp_path / "log"
    log.write_bytes(b"before\n")
    file = log.open("rb")
    file.seek(7)

    def add(data: bytes) -> None:
        with log.open("ab") as end:
            end.write(data)

    def rotate(name: str, data: bytes) -> None:
        log.rename(tmp_path / name)
        if data:
            log.write_bytes(data)

    steps: list[Callable[[], object]] = [
        lambda: add(b"one\ntw"),
        lambda: None,
        lambda: add(b"o\nthree\n"),
        lambda: (add(b"last of the old\n"), rotate("log.1", b"first of the new\n")),
        lambda: add(b"more\n"),
        lambda: rotate("log.2", b""),
        lambda: add(b"newest\n"),
        lambda: log.write_bytes(b"cut\n"),
        lambda: add(b"end\n"),
    ]

    def wait() -> bool:
        if steps:
            steps.pop(0)()
        return bool(steps)

    follow = runpy.run_path(str(ROOT / "examples" / "anomaly_watch.py"))["follow"]
    whole = b"one two three last of the old first of the new more newest cut end"
    assert b" ".join(line.rstrip(b"\n") for line in follow(log, file, wait)) == whole


def test_it_watches_as_a_program_while_the_log_grows(tmp_path: Path) -> None:
    shop = runpy.run_path(str(ROOT / "examples" / "anomaly_watch.py"))["shop"]
    log, added = tmp_path / "shop.log", b"".join([*shop(2, 20), ODD])
    log.write_bytes(b"".join(shop(1, 400)) + added[:9])  # a line that is still being written
    command = [sys.executable, "-W", "error", "examples/anomaly_watch.py", str(log)]
    alone = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=alone) as program:
        assert program.stdout is not None and program.stderr is not None
        try:
            assert "400 lines learned" in program.stdout.readline()
            for part in (added[9:], added):
                if part == added:
                    log.rename(tmp_path / "shop.log.1")
                with log.open("ab") as file:
                    file.write(part)
                assert "Out of memory" in until(program.stdout, "kernel")
            program.send_signal(signal.SIGINT)
            assert "2 of 42 lines were odd" in until(program.stdout, "lines were odd")
            assert program.wait(60) == 0, program.stderr.read()
        finally:
            program.kill()


def until(stream: IO[str], words: str) -> str:
    """The first line that holds them; empty where there is none."""
    return next((line for line in stream if words in line), "")


# The table


def table() -> str:
    """Name, first line of the docstring, command of every example."""
    rows = ["| example | what it shows | command |", "|---|---|---|"]
    for name in EXAMPLES:
        about = ast.get_docstring(ast.parse((ROOT / "examples" / name).read_text())) or ""
        command = re.search(rf"^ +(\.venv/bin/python examples/{name}.*)$", about, re.MULTILINE)
        assert command, f"{name} does not tell how to run it"
        rows.append(f"| [{name}]({name}) | {about.splitlines()[0]} | `{command[1]}` |")
    return "\n".join(rows)


def test_the_table_of_examples_is_made_of_their_docstrings(request: pytest.FixtureRequest) -> None:
    path = ROOT / "examples" / "README.md"
    before, after = re.split(r"\| example \|.*\|\n(?!\|)", path.read_text(), flags=re.DOTALL)
    whole = f"{before}{table()}\n{after}"
    if request.config.getoption("--update-snapshots"):
        path.write_text(whole)
    assert path.read_text() == whole, "run it with --update-snapshots"
