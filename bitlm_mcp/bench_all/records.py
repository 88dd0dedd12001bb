"""What is kept of each case: one JSON file, written whole as soon as the case has ended, and read when a run goes on.

A record is of this run when command, version, commit, machine and the digests of its files are those of now: its key says so.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = "cases"


@dataclass(frozen=True)
class CaseRecord:
    """One case that was run. `figures`: of the last line, in one level, and what follows from them; none where it failed.

    seconds of the wall and of CPU, its children's with it; peak_mib: the most that one process of it held.
    load: of the machine, in processes that wanted a core in the minute before. beside: whether another case may have run too.
    """

    case: str
    key: str
    command: str
    data: Mapping[str, str]
    figures: Mapping[str, Any]
    exit_code: int
    error: str
    wall_seconds: float
    cpu_seconds: float
    peak_mib: int
    load: float
    beside: bool
    date: str
    commit: str
    machine: Mapping[str, str | int]

    @property
    def good(self) -> bool:
        """Whether it ended well, with figures."""
        return self.exit_code == 0 and not self.error


def key_of(command: str, data: Mapping[str, str], commit: str, machine: Mapping[str, str | int]) -> str:
    """What a record must agree in to stand for a run of now."""
    told = json.dumps([command, dict(data), commit, dict(machine)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:16]


def write_record(folder: Path, record: CaseRecord) -> None:
    """Write it below the folder, whole or not at all."""
    target = folder / FOLDER / f"{record.case}.json"
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_suffix(".part")
    part.write_text(json.dumps(asdict(record), indent=1) + "\n", encoding="utf-8")
    part.replace(target)


def read_record(folder: Path, name: str) -> CaseRecord | None:
    """The record of a case; None where there is none, or what there is cannot be read as one: then it is run again."""
    try:
        return CaseRecord(**json.loads((folder / FOLDER / f"{name}.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
