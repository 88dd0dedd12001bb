"""What a case of `bitlm bench all` is: a benchmark with settings and files, and the figures that matter of what it tells."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

Found = Mapping[str, Any]
"""Figures by their names."""
TEXT = "Python's language reference"
"""What is learned where the wanted file is absent: every machine has it."""
LANES = 2
"""Cases that may run beside each other."""
SHAKESPEARE = "tinyshakespeare.txt"
BPB, BYTES_S, SHARE = "bits/byte", "bytes/s", "share"
"""Units."""


@dataclass(frozen=True)
class Figure:
    """One figure of a case by its name there. `limit`: what must hold; `goal`: what was hoped for."""

    name: str
    label: str
    unit: str = ""
    better: Literal["lower", "higher", ""] = ""
    limit: float | None = None
    goal: float | None = None

    def reaches(self, bound: float, value: float) -> bool:
        """Whether the value is at least as good as the bound."""
        return value <= bound if self.better == "lower" else value >= bound


def low(name: str, label: str, unit: str = "", limit: float | None = None, goal: float | None = None) -> Figure:
    """A figure that is better the lower it is."""
    return Figure(name, label, unit, "lower", limit, goal)


def high(name: str, label: str, unit: str = "", limit: float | None = None, goal: float | None = None) -> Figure:
    """A figure that is better the higher it is."""
    return Figure(name, label, unit, "higher", limit, goal)


@dataclass(frozen=True)
class Case:
    """One run of one benchmark.

    arguments: as on a command line; `{NAME}` stands for a file, without which the case cannot run.
    data: the file for `--data`; where it is absent `TEXT` is learned, for which the bounds of figures do not hold.
    figures: the first is the headline. seconds: of the wall, about, on the machine it was planned on.
    alone: nothing else runs beside it, as it measures speeds, latencies, or memory, or is compared with what others publish.
    derive: further figures from those told.
    """

    name: str
    benchmark: str
    measures: str
    figures: tuple[Figure, ...]
    seconds: int
    arguments: str = ""
    data: str = ""
    alone: bool = False
    derive: Callable[[Found], Found] | None = None

    @property
    def needs(self) -> tuple[str, ...]:
        """References of the files without which it cannot run."""
        return tuple(re.findall(r"\{([^}]+)\}", self.arguments))

    def command_line(self, name_of: Callable[[str], str], *, with_data: bool) -> list[str]:
        """What follows `bitlm bench`, each file as `name_of` calls it."""
        given = [name_of(word[1:-1]) if word.startswith("{") else word for word in self.arguments.split()]
        return [self.benchmark, *(["--data", name_of(self.data)] if with_data else []), *given, "--json"]
