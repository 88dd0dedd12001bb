"""The files that benchmarks learn and code: found by name in a folder, or cut from what is found there.

A reference is the name of a file, `obj2`, or of a folder of programs, `nanoGPT`, or the name of a file and a part of it:

    HDFS_2k.log:first    the first half of its lines; `:second` the other
    modbus_a.pcap:first  the same of the packets of a capture, which stays one
    BGL_2k.log:normal    the normal ones, of label `-`, of three lines in five; `:ranked` all other lines

Parts lie in a folder of the run's own. What a benchmark is told is a path; what a report tells is the reference.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

import numpy as np

import bitlm_core

_PCAP_HEADER = 24
_LEARNED_OF_FIVE = 3


class Inputs:
    """Files below `folder`, None for none; parts of them are written into `scratch`."""

    def __init__(self, folder: Path | None, scratch: Path) -> None:
        self._folder, self._scratch = folder, scratch

    @cached_property
    def _names(self) -> dict[str, Path]:
        """All that lies below the folder, looked through once."""
        paths = sorted(self._folder.rglob("*"), reverse=True) if self._folder else []
        return {path.name: path for path in paths}

    def path(self, reference: str) -> Path | None:
        """The file or folder, None where there is none of this name. Two of one name: the first by its path."""
        name, _, part = reference.partition(":")
        found = self._names.get(name)
        if found is None or not part:
            return found
        target = self._scratch / f"{found.stem}-{part}{found.suffix}"
        if not target.exists():
            target.write_bytes(PARTS[part](found))
        return target

    def digest(self, reference: str) -> str:
        """The beginning of the SHA-256 of a file that there is, or of the programs of a folder; nothing where there is none."""
        path = self.path(reference)
        if path is None:
            return ""
        parts = sorted(path.glob("*.py")) if path.is_dir() else [path]
        return hashlib.sha256(b"".join(part.read_bytes() for part in parts)).hexdigest()[:16]


def _half(path: Path, second: bool) -> bytes:
    data = path.read_bytes()
    if path.suffix == ".pcap":
        spans = bitlm_core.record_spans(np.frombuffer(data, np.uint8), "pcap")
        # A packet's own header of 16 bytes stands before it, so the next one's begins where this one ends.
        cut = int(spans[len(spans) // 2 - 1, 1])
        return data[:_PCAP_HEADER] + data[cut:] if second else data[:cut]
    lines = data.splitlines(keepends=True)
    cut = len(lines) // 2
    return b"".join(lines[cut:] if second else lines[:cut])


def _by_label(path: Path, ranked: bool) -> bytes:
    """Of every five lines three are learned, where they are normal; all others are ranked."""
    lines = path.read_bytes().splitlines(keepends=True)
    learned = [line.startswith(b"- ") and number % 5 < _LEARNED_OF_FIVE for number, line in enumerate(lines)]
    return b"".join(line for line, taken in zip(lines, learned, strict=True) if taken is not ranked)


PARTS: dict[str, Callable[[Path], bytes]] = {
    "first": lambda path: _half(path, second=False),
    "second": lambda path: _half(path, second=True),
    "normal": lambda path: _by_label(path, ranked=False),
    "ranked": lambda path: _by_label(path, ranked=True),
}
