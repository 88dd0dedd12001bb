"""Checkpoints by name in one directory, each always either the old one or the new one, never a mixture. No torch in here.

    NAME/manifest.json            which data file is current, its size and SHA-256, the step
    NAME/<sha256>.safetensors     the data

A save writes the data file under a temporary name, syncs it, renames it, then replaces the manifest and syncs the
directory. Whatever moment the machine stops at, the manifest names a complete file.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bitlm_core.errors import CheckpointCorruptError, CheckpointError, CheckpointNotFoundError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
_MANIFEST = "manifest.json"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class CheckpointInfo:
    """What the manifest says. `bytes_` and `sha256` are those of the data file; `saved_at` is UTC, ISO 8601."""

    name: str
    step: int
    bytes_: int
    sha256: str
    saved_at: str
    summary: dict[str, Any]


class CheckpointStore:
    """All checkpoints under `root` (created when the first one is saved)."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def save(
        self, name: str, write: Callable[[Path], None], *, step: int, summary: dict[str, Any], overwrite: bool
    ) -> CheckpointInfo:
        """Store the file that `write` makes at the path it is given; `summary` goes into the manifest.

        Raises CheckpointError when the name is taken (without `overwrite`) or the disk refuses.
        """
        folder = self._folder(name)
        if (folder / _MANIFEST).exists() and not overwrite:
            raise CheckpointError(f"checkpoint {name!r} exists already: choose another name or pass overwrite=true", name=name)
        try:
            return self._save(folder, name, write, step, summary)
        except OSError as error:
            raise CheckpointError(
                f"checkpoint {name!r} could not be written: {error.strerror or error}. What was there before is "
                "unchanged: free some space or check the state directory",
                name=name,
            ) from error

    def verified_path(self, name: str) -> Path:
        """The data file, after its SHA-256 was checked. Raises CheckpointNotFoundError or CheckpointCorruptError."""
        info = self.info(name)
        path = self._folder(name) / f"{info.sha256}.safetensors"
        if not path.is_file() or path.stat().st_size != info.bytes_ or _digest(path) != info.sha256:
            raise CheckpointCorruptError(
                f"checkpoint {name!r} is damaged: its data is not what was saved (SHA-256 {info.sha256[:12]}… expected). "
                f"Load another one: {self._others(name)}",
                name=name,
            )
        return path

    def info(self, name: str) -> CheckpointInfo:
        """The manifest of one checkpoint. Raises CheckpointNotFoundError or CheckpointCorruptError."""
        path = self._folder(name) / _MANIFEST
        if not path.exists():
            raise CheckpointNotFoundError(f"there is no checkpoint {name!r}. Available: {self._others(name)}", name=name)
        try:
            info = CheckpointInfo(**json.loads(path.read_text("utf-8")))
            if not _sound(info, name):
                raise ValueError("a field does not hold what it must")
            return info
        except (ValueError, TypeError, OSError, RecursionError) as error:
            raise CheckpointCorruptError(
                f"the manifest of checkpoint {name!r} is damaged. Load another one: {self._others(name)}", name=name
            ) from error

    def names(self) -> list[str]:
        """Names of all checkpoints, damaged ones included, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"*/{_MANIFEST}"))

    def _folder(self, name: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, name):
            raise CheckpointError(
                f"{name!r} is no checkpoint name: use 1-64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
                name=name,
            )
        return self.root / name

    def _others(self, name: str) -> str:
        return ", ".join(other for other in self.names() if other != name) or "none (call save_checkpoint first)"

    def _save(
        self, folder: Path, name: str, write: Callable[[Path], None], step: int, summary: dict[str, Any]
    ) -> CheckpointInfo:
        folder.mkdir(parents=True, exist_ok=True)
        before = self._data_files(name)
        scratch = Path(tempfile.mkdtemp(prefix=".saving-", dir=folder))
        try:
            data = scratch / "data"
            write(data)
            _sync(data)
            digest = _digest(data)
            saved_at = datetime.now(UTC).isoformat(timespec="seconds")
            info = CheckpointInfo(name, step, data.stat().st_size, digest, saved_at, summary)
            data.replace(folder / f"{digest}.safetensors")
            manifest = scratch / _MANIFEST
            manifest.write_text(json.dumps(asdict(info), indent=1, sort_keys=True), "utf-8")
            _sync(manifest)
            manifest.replace(folder / _MANIFEST)
            _sync(folder)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
        # Of all other files, one may be what another process is about to name in its manifest.
        for old in before - self._data_files(name):
            old.unlink(missing_ok=True)
        return info

    def _data_files(self, name: str) -> set[Path]:
        """The file that the manifest names, if there is a manifest that can be read."""
        try:
            return {self._folder(name) / f"{self.info(name).sha256}.safetensors"}
        except CheckpointError:
            return set()


def _sound(info: CheckpointInfo, name: str) -> bool:
    """Whether every field has its type and range: the digest becomes a path, so nothing else may stand there."""
    return (
        info.name == name
        and type(info.step) is int
        and type(info.bytes_) is int
        and min(info.step, info.bytes_) >= 0
        and isinstance(info.sha256, str)
        and re.fullmatch(r"[0-9a-f]{64}", info.sha256) is not None
        and isinstance(info.saved_at, str)
        and isinstance(info.summary, dict)
    )


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
