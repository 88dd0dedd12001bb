"""The JSON header of a checkpoint's safetensors file, read and checked on its own. No torch in here."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bitlm_core.errors import CheckpointCorruptError, CheckpointVersionError

VERSION = 3
"""1: networks with one residual stream, before there was a release. 2: a mixer's arrays as they are, not packed."""
OLDEST = 2
"""The oldest version that can be brought up to date, here and in `format`."""
KEY = "bitlm"


def read_header(path: Path, name: str) -> dict[str, Any]:
    """The header of the checkpoint called `name`, brought up to date.

    Raises CheckpointCorruptError for a file that is not one of ours, CheckpointVersionError for a format too new or too old.
    """
    with readable(name), safe_open(path, framework="np") as file:
        return header_of(file.metadata(), name)[0]


def header_of(metadata: dict[str, str] | None, name: str) -> tuple[dict[str, Any], int]:
    """The header in a file's metadata, brought up to date, and the version it was written in; inside `readable`."""
    header: dict[str, Any] = json.loads((metadata or {})[KEY])
    version = header.pop("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"no format has version {version!r:.20}")
    if not OLDEST <= version <= VERSION:
        remedy = "update bitlm" if version > VERSION else "its network computes what this one does not, so train it anew"
        raise CheckpointVersionError(
            f"checkpoint {name!r} has format version {version}; this program reads versions {OLDEST} to {VERSION}: {remedy}",
            name=name,
            version=version,
        )
    for step in range(version, VERSION):
        header = _UPGRADES[step](header)
    return header, version


def _tell_what_was_read_with_the_network(header: dict[str, Any]) -> dict[str, Any]:
    """Before version 3 a mixer beside a network read everything with it."""
    return {**header, "asked": header["read_to"]} if "read_to" in header else header


_UPGRADES: dict[int, Callable[[dict[str, Any]], dict[str, Any]]] = {2: _tell_what_was_read_with_the_network}
"""By version, how to make the next one of it."""


@contextmanager
def readable(name: str) -> Iterator[None]:
    """Around the reading of a file that may be anything: what goes wrong is damage, and named."""
    try:
        yield
    except (SafetensorError, OSError, KeyError, ValueError, AttributeError, TypeError, RecursionError) as error:
        raise CheckpointCorruptError(
            f"checkpoint {name!r} cannot be read ({type(error).__name__}): load another one, or save it again",
            name=name,
        ) from error
