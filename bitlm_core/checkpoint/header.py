"""The JSON header of a checkpoint's safetensors file, read and checked on its own. No torch in here."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from bitlm_core.errors import CheckpointCorruptError, CheckpointVersionError

VERSION = 4
"""1: networks with one residual stream. 2: mixers with fewer contexts. Both were before there was a release."""
KEY = "bitlm"


def read_header(path: Path, name: str) -> dict[str, Any]:
    """The header of the checkpoint called `name`.

    Raises CheckpointCorruptError for a file that is not one of ours, CheckpointVersionError for another format.
    """
    with readable(name), safe_open(path, framework="np") as file:
        return header_of(file.metadata(), name)


def header_of(metadata: dict[str, str] | None, name: str) -> dict[str, Any]:
    """The header in a file's metadata; inside `readable`."""
    header: dict[str, Any] = json.loads((metadata or {})[KEY])
    version = header.pop("version")
    if type(version) is not int or version < 1:
        raise ValueError(f"no format has version {version!r:.20}")
    if version != VERSION:
        remedy = "update bitlm" if version > VERSION else "what it learned means something else by now, so train it anew"
        raise CheckpointVersionError(
            f"checkpoint {name!r} has format version {version}; this program reads version {VERSION}: {remedy}",
            name=name,
            version=version,
        )
    return header


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
