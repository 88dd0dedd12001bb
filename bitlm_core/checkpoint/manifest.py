"""What a store says of a checkpoint beside its data: one JSON file, believed only when every field is what it should be."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class CheckpointInfo:
    """What the manifest says. `bytes_` and `sha256` are those of the data file; `saved_at` is UTC, ISO 8601.

    `pinned`: whoever tidies up must leave it. `previous`: digest of the generation before, where the store keeps one.
    """

    name: str
    step: int
    bytes_: int
    sha256: str
    saved_at: str
    summary: dict[str, Any]
    pinned: bool = False
    previous: str | None = None


def read_manifest(path: Path, name: str) -> CheckpointInfo | None:
    """The manifest of the checkpoint called `name`; None where there is none that can be believed."""
    try:
        info = CheckpointInfo(**json.loads(path.read_text("utf-8")))
    except (ValueError, TypeError, OSError, RecursionError):
        return None
    return info if _sound(info, name) else None


def _sound(info: CheckpointInfo, name: str) -> bool:
    """Whether every field has its type and range: the digests become paths, so nothing else may stand there."""
    return (
        info.name == name
        and type(info.step) is int
        and type(info.bytes_) is int
        and min(info.step, info.bytes_) >= 0
        and all(_is_digest(value) for value in (info.sha256, info.previous or info.sha256))
        and isinstance(info.saved_at, str)
        and isinstance(info.summary, dict)
        and type(info.pinned) is bool
    )


def _is_digest(value: object) -> bool:
    return isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value) is not None
