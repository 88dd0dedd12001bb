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
    "agent_loop.py": ([], "The oddest is line 41: 12:00:41 web-1 GET /../../etc/passwd"),
    "agent_session.py": (["LICENSE", "2"], "saved at step 2"),
    "anomaly_watch.py": (["200", "150"], "3 of 3 odd lines rank first"),
    "bytes_of_any_kind.py": (["30"], "2 of 2 files cost at least a twentieth less than before"),
    "core_in_20_lines.py": (["README.md", "5"], "saved and loaded at step 5"),
    "metric_plots.py": (["{tmp}", "4"], "4 pictures in"),
    "long_context.py": (["LICENSE", "9000", "1"], "bytes predicted, each once"),
}


def test_no_example_is_left_out() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys()


SLOW = {"agent_loop.py": pytest.mark.slow}
"""Which start a server that has nothing loaded yet; tests/mcp/test_agent_loop.py is quicker."""


@pytest.mark.parametrize("name", [pytest.param(name, marks=SLOW.get(name, ())) for name in EXAMPLES])
def test_it_runs(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """In this process, which has loaded torch already."""
    arguments, expected = EXAMPLES[name]
    monkeypatch.chdir(ROOT)
    monkeypatch.setattr(sys, "argv", [f"examples/{name}", *(argument.format(tmp=tmp_path) for argument in arguments)])
    runpy.run_path(f"examples/{name}", run_name="__main__")
    assert expected in capsys.readouterr().out


def test_one_runs_as_a_program(tmp_path: Path) -> None:
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # barriers between threads are slow where other tests run
    command = [sys.executable, "examples/metric_plots.py", str(tmp_path), "4"]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert found.returncode == 0, found.stderr
    assert "4 pictures in" in found.stdout
