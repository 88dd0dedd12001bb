"""Every example runs, as the README says."""

from __future__ import annotations

import os
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


def test_no_example_is_left_out() -> None:
    assert {path.name for path in (ROOT / "examples").glob("*.py")} == EXAMPLES.keys()


@pytest.mark.parametrize("name", EXAMPLES)
def test_it_runs(name: str, tmp_path: Path) -> None:
    arguments, expected = EXAMPLES[name]
    arguments = [argument.format(tmp=tmp_path) for argument in arguments]
    alone = {**os.environ, "OMP_NUM_THREADS": "1"}  # barriers between threads are slow where other tests run
    command = [sys.executable, f"examples/{name}", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, env=alone)
    assert found.returncode == 0, found.stderr
    assert expected in found.stdout
