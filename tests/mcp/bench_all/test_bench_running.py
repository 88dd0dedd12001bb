"""`bitlm bench all` as it is run: in two lanes, through failures, and on from where it was killed."""

from __future__ import annotations

import functools
import hashlib
import json
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import fake_bench
import pytest
from dummy_process import ENV, until
from fake_bench import PROGRAM, bench_in, case, jobs_in
from typer.testing import CliRunner, Result

from bitlm_mcp import cli
from bitlm_mcp.bench_all import command, running
from bitlm_mcp.bench_all.plan import Case
from bitlm_mcp.bench_all.records import read_record
from bitlm_mcp.bench_all.running import Bench, run_jobs


def invoked(monkeypatch: pytest.MonkeyPatch, folder: Path, plan: tuple[Case, ...], *arguments: str) -> Result:
    monkeypatch.setenv("FAKE", str(folder))
    monkeypatch.setattr(command, "PLAN", plan)
    monkeypatch.setattr(command, "Bench", functools.partial(Bench, program=PROGRAM))
    return CliRunner().invoke(cli.app, ["bench", "all", "--out", str(folder / "out"), *arguments])


def ran(folder: Path) -> list[str]:
    """What was run so far, in any order, and forget it."""
    path = folder / "ran"
    found = path.read_text().split() if path.exists() else []
    path.unlink(missing_ok=True)
    return sorted(found)


def last_line(found: Result) -> dict[str, Any]:
    return dict(json.loads(found.stdout.splitlines()[-1]))


def test_a_failing_case_stops_no_other_and_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    plan = (case("good"), case("bad"), case("killed"), case("odd", derive=lambda found: {"twice": 2 + found["none"]}),
            case("mute", alone=True), case("good-2", alone=True), case("needy", arguments="{file}"))  # fmt: skip
    found = invoked(monkeypatch, tmp_path, plan)
    assert found.exit_code == 1 and ran(tmp_path) == ["bad", "good", "good", "killed", "mute", "odd"]
    summary = last_line(found)
    assert (summary["measured"], summary["failed"], summary["not_run"]) == (2, 4, 1)
    assert summary["failed_cases"] == ["bad", "killed", "odd", "mute"]
    assert summary["limits"] == 2 and summary["goals_missed"] == 2
    assert "bad: " in found.stderr and "FAILED, it went wrong" in found.stderr and "[6/6] good-2" in found.stderr
    report = json.loads((tmp_path / "out" / "report.json").read_text())
    assert report["figures"] == {f"{name}.{key}": value for name in ("good", "good-2") for key, value in
                                 {"speed": 2.5, "size": 7, "none": None, "inner.deep": 1}.items()}  # fmt: skip
    assert report["cases"]["bad"]["why"] == "it went wrong" and report["cases"]["bad"]["exit_code"] == 1
    assert report["cases"]["killed"]["why"] == "ended by signal 9" and "TypeError" in report["cases"]["odd"]["why"]
    assert "not the JSON" in report["cases"]["mute"]["why"] and report["cases"]["needy"]["why"].startswith("needs file: ")
    page = (tmp_path / "out" / "report.md").read_text()
    assert "- `bad`: it went wrong" in page and "| how fast | 2.5 bytes/s | ≥ 2: met | ≥ 3: **missed** |" in page


def test_a_case_that_hangs_is_ended(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(running, "PATIENCE", 0)
    monkeypatch.setattr(running, "GRACE_S", 0)
    found = invoked(monkeypatch, tmp_path, (case("long"),))
    assert found.exit_code == 1 and "FAILED, ended by signal 9, for it took over 0 times as long as planned" in found.stderr


def test_what_was_measured_is_kept_until_something_has_changed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "file").write_bytes(b"one\ntwo")
    plan = (case("good"), case("with", data="file"), case("needs", arguments="--of {file:first}"))
    assert last_line(invoked(monkeypatch, tmp_path, plan, "--data", str(data)))["ran"] == 3
    record = read_record(tmp_path / "out", "with")
    assert record is not None and record.command == "bitlm bench with --data file --json" and record.data.keys() == {"file"}
    assert record.cpu_seconds > 0 and record.peak_mib > 0 and record.good
    cut = read_record(tmp_path / "out", "needs")
    assert cut is not None and cut.data == {"file:first": hashlib.sha256(b"one\n").hexdigest()[:16]}
    ran(tmp_path)
    assert last_line(invoked(monkeypatch, tmp_path, plan, "--data", str(data)))["ran"] == 0 and ran(tmp_path) == []
    (data / "file").write_bytes(b"two")
    invoked(monkeypatch, tmp_path, plan, "--data", str(data))
    assert ran(tmp_path) == ["needs", "with"]
    invoked(monkeypatch, tmp_path, plan, "--data", str(data), "--only", "good,with", "--again", "good")
    assert ran(tmp_path) == ["good"]
    monkeypatch.setattr(command, "code_commit", lambda: "another")
    invoked(monkeypatch, tmp_path, plan, "--data", str(data), "--report-only")
    assert ran(tmp_path) == []
    invoked(monkeypatch, tmp_path, plan, "--data", str(data), "--only", "needs")
    assert ran(tmp_path) == ["needs"]


def test_what_it_cannot_do_it_says_in_a_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for arguments, said in ((["--only", "goods"], "no case 'goods'"), (["--data", str(tmp_path / "no")], "there is no folder")):
        found = invoked(monkeypatch, tmp_path, (case("good"),), *arguments)
        assert found.exit_code == 1 and said in found.stderr and found.stderr.count("\n") == 1


def test_a_killed_run_goes_on_where_it_was(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, fake_bench.__file__, str(tmp_path)], env=ENV)
    try:
        until(lambda: (tmp_path / "ran").exists() and "long" in (tmp_path / "ran").read_text(), 60, "the second case")
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "release").touch()  # for the case that was left behind
    bench = bench_in(tmp_path)
    assert [job.case.name for job in jobs_in(bench)] == ["long", "last"] and ran(tmp_path) == ["first", "long"]
    run_jobs(bench, jobs_in(bench))
    assert ran(tmp_path) == ["last", "long"] and jobs_in(bench) == []


def test_a_stopped_run_leaves_nothing_running(tmp_path: Path) -> None:
    bench, main = bench_in(tmp_path), threading.main_thread()

    def interrupt() -> None:
        until(lambda: (tmp_path / "ran").exists() and "long" in (tmp_path / "ran").read_text(), 60, "the second case")
        assert main.ident is not None
        signal.pthread_kill(main.ident, signal.SIGTERM)

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(command.BenchError, match="the same command goes on from there"):
        command._run(bench, jobs_in(bench))
    thread.join()
    assert ran(tmp_path) == ["first", "long"] and [job.case.name for job in jobs_in(bench)] == ["long", "last"]
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
