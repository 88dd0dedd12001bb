"""Kernels compiled ahead: afterwards nothing is left to compile for what models of that kind do."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bitlm_core import KINDS

WATCHED = """
import sys
from numba.core import event
from bitlm_core import compile_ahead
compiled = []
class Listener(event.Listener):
    def on_start(self, found): compiled.append(str(found.data["dispatcher"]))
    def on_end(self, found): pass
event.register("numba:compile", Listener())
compile_ahead(sys.argv[1])
print(len(compiled))
"""


def compiled_by(kind: str) -> int:
    """How many functions were compiled, not loaded, in a process that compiles ahead."""
    command = [sys.executable, "-c", WATCHED, kind]
    return int(subprocess.run(command, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2]).stdout)


def test_nothing_is_left_to_compile() -> None:
    """At the first attempt where it was done before, else at the second."""
    assert 0 in (compiled_by(KINDS[-1]) for _ in range(2))
