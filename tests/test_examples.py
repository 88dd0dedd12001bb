"""Every example runs, as the README says."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
EXAMPLES = {
    "anomaly_watch.py": (["200", "150"], "3 of 3 odd lines rank first"),
    "bytes_of_any_kind.py": (["30"], "2 of 2 files cost at least a twentieth less than before"),
    "core_in_20_lines.py": (["README.md", "5"], "saved and loaded at step 5"),
    "metric_plots.py": (["{tmp}", "4"], "4 pictures in"),
    "long_context.py": (["LICENSE", "9000", "1"], "bytes predicted, each once"),
}
AGENTS = {
    "agent_loop.py": ([], "The oddest is line 41: 12:00:41 web-1 GET /../../etc/passwd"),
    "agent_session.py": (["LICENSE", "2"], "saved at step 2"),
}
"""They start a server of their own."""


def test_no_example_is_left_out() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys() | AGENTS.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which has loaded torch already."""
    arguments, expected = EXAMPLES[name]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"examples/{name}", *(argument.format(tmp=tmp_path) for argument in arguments)])
    runpy.run_path(f"examples/{name}", run_name="__main__")
    assert expected in capsys.readouterr().out


def run(name: str, *arguments: str) -> str:
    """What it says as a program."""
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # barriers between threads are slow where other tests run
    command = [sys.executable, f"examples/{name}", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert found.returncode == 0, found.stderr
    return found.stdout


def test_one_runs_as_a_program(tmp_path: Path) -> None:
    assert "4 pictures in" in run("metric_plots.py", str(tmp_path), "4")


@pytest.mark.slow
@pytest.mark.parametrize("name", AGENTS)
def test_an_agent_runs_with_a_server_of_its_own(name: str) -> None:
    """Quicker, with a server that has loaded everything already: tests/mcp/test_agents.py."""
    arguments, expected = AGENTS[name]
    assert expected in run(name, *arguments)
