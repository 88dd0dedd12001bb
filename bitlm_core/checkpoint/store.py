"""Checkpoints by name in one directory, each always either the old one or the new one, never a mixture. No torch in here.

    NAME/manifest.json            which data file is current, its size and SHA-256, the step
    NAME/<sha256>.safetensors     the data; never changed, only replaced by another
    NAME/.saving-<random>         data that is being written and that nobody may read yet

A save writes the data under a scratch name, syncs it, renames it, then replaces the manifest and syncs the directory.
Whatever moment the machine stops at, the manifest names a complete file. Several processes may share the directory.
"""

from __future__ import annotations

import json
import re
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bitlm_core.durable import change_within, create_text, digest_of, link_or_copy, make_folder, replace_text, sync
from bitlm_core.errors import CheckpointCorruptError, CheckpointError, CheckpointNotFoundError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
_MANIFEST = "manifest.json"
_SCRATCH = ".saving-"


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


class CheckpointStore:
    """All checkpoints under `root` (created when the first one is saved)."""

    def __init__(self, root: Path, *, keep_previous: bool = False) -> None:
        """`keep_previous`: an overwrite leaves the generation before it, so that who has just looked can still read it."""
        self.root = root
        self.keep_previous = keep_previous

    # Reading

    def info(self, name: str) -> CheckpointInfo:
        """The manifest of one checkpoint. Raises CheckpointNotFoundError or CheckpointCorruptError."""
        if not (self._folder(name) / _MANIFEST).exists():
            raise CheckpointNotFoundError(f"there is no checkpoint {name!r}. Available: {self._others(name)}", name=name)
        info = self._known(name)
        if info is None:
            raise CheckpointCorruptError(f"the manifest of checkpoint {name!r} is damaged. {self._offer(name)}", name=name)
        return info

    def names(self) -> list[str]:
        """Names of all checkpoints, damaged ones included, sorted."""
        return sorted(path.parent.name for path in self.root.glob(f"[!.]*/{_MANIFEST}"))

    def infos(self) -> list[CheckpointInfo]:
        """The manifests that can be read, the newest first."""
        found = [info for info in map(self._known, self.names()) if info is not None]
        return sorted(found, key=lambda info: info.saved_at, reverse=True)

    def verified(self, name: str) -> CheckpointInfo:
        """The manifest, after the data's SHA-256 was checked. Raises CheckpointNotFoundError or CheckpointCorruptError."""
        while True:
            info = self.info(name)
            if self._intact(info):
                return info
            if self.info(name) == info:  # else it was replaced between two looks
                raise CheckpointCorruptError(
                    f"checkpoint {name!r} is damaged: its data is not what was saved (SHA-256 {info.sha256[:12]}… "
                    f"expected). {self._offer(name)}",
                    name=name,
                )

    def verified_path(self, name: str) -> Path:
        """The data file, after its SHA-256 was checked; raises as `verified`."""
        return self._data(self.verified(name))

    def hold(self, name: str, target: Path) -> CheckpointInfo:
        """Give the verified data a second name, which no save replaces; raises as `verified`."""
        while True:
            info = self.verified(name)
            with suppress(FileNotFoundError):  # replaced between two looks
                link_or_copy(self._data(info), target)
                return info

    # Writing

    def scratch(self, name: str) -> Path:
        """A path to write data to, for `publish`. Raises CheckpointError for what is no name."""
        folder = self._folder(name)
        with _named(name):
            make_folder(folder)
        return _scratch_in(folder)

    def publish(
        self,
        name: str,
        data: Path,
        *,
        step: int,
        summary: dict[str, Any],
        overwrite: bool,
        pinned: bool = False,
        guard: Callable[[CheckpointInfo], AbstractContextManager[object]] = nullcontext,
    ) -> CheckpointInfo:
        """Make the file at `data` (a `scratch` path) the checkpoint `name`; it is moved, and on the disk afterwards.

        The moment that counts, the replacement of the manifest, happens inside `guard(info)`, which may refuse it at its
        beginning or its end. Raises CheckpointError when the name is taken (without `overwrite`) or the disk refuses; then
        nothing has changed.
        """
        self.check_free(name, overwrite)
        before = self._known(name)
        try:
            with _named(name):
                sync(data)
                info = CheckpointInfo(
                    name=name,
                    step=step,
                    bytes_=data.stat().st_size,
                    sha256=digest_of(data),
                    saved_at=datetime.now(UTC).isoformat(timespec="microseconds"),
                    summary=summary,
                    pinned=pinned,
                    previous=before.sha256 if before and self.keep_previous else None,
                )
                data.replace(self._data(info))
                manifest = self._folder(name) / _MANIFEST
                change_within(guard(info), manifest, lambda: self._write(info, overwrite), _scratch_in(manifest.parent))
        finally:
            data.unlink(missing_ok=True)
        if before:
            self._drop(name, {before.sha256, before.previous} - {info.sha256, info.previous})
        return info

    def save(
        self, name: str, write: Callable[[Path], None], *, step: int, summary: dict[str, Any], overwrite: bool
    ) -> CheckpointInfo:
        """Store the file that `write` makes at the path it is given; raises as `publish`."""
        self.check_free(name, overwrite)
        path = self.scratch(name)
        try:
            with _named(name):
                write(path)
            return self.publish(name, path, step=step, summary=summary, overwrite=overwrite)
        finally:
            path.unlink(missing_ok=True)

    def pin(self, name: str, pinned: bool) -> CheckpointInfo:
        """Protect a checkpoint from tidying up, or no longer. Raises as `info`."""
        info = replace(self.info(name), pinned=pinned)
        with _named(name):
            self._write(info, overwrite=True)
        return info

    def delete(self, name: str, guard: AbstractContextManager[object] | None = None) -> None:
        """Remove a checkpoint, its manifest first, inside `guard`: what a stop in between leaves is no checkpoint any more.

        Raises CheckpointNotFoundError when there is none; a damaged one may be removed.
        """
        folder = self._folder(name)
        if not (folder / _MANIFEST).exists():
            raise CheckpointNotFoundError(f"there is no checkpoint {name!r}. Available: {self._others(name)}", name=name)
        with _named(name):
            manifest = folder / _MANIFEST
            change_within(guard or nullcontext(), manifest, lambda: manifest.unlink(missing_ok=True), _scratch_in(folder))
            shutil.rmtree(folder, ignore_errors=True)

    def sweep(self) -> None:
        """Remove what writers that were killed left behind. Only for when nobody writes: it would be taken for left behind."""
        left_over = list(self.root.glob(f"*/{_SCRATCH}*"))
        for info in self.infos():  # of a damaged one nobody knows what is left over
            data = self._folder(info.name).glob("*.safetensors")
            left_over += [path for path in data if path.stem not in (info.sha256, info.previous)]
        for path in left_over:
            path.unlink(missing_ok=True)
        for folder in self.root.glob("*/"):
            if not (folder / _MANIFEST).exists():
                shutil.rmtree(folder, ignore_errors=True)

    def _folder(self, name: str) -> Path:
        if not re.fullmatch(NAME_PATTERN, name):
            raise CheckpointError(
                f"{name!r} is no checkpoint name: use 1-64 of a-z, 0-9, '.', '_', '-', beginning with a letter or digit",
                name=name,
            )
        return self.root / name

    def _data(self, info: CheckpointInfo) -> Path:
        return self._folder(info.name) / f"{info.sha256}.safetensors"

    def _intact(self, info: CheckpointInfo) -> bool:
        path = self._data(info)
        try:
            return path.stat().st_size == info.bytes_ and digest_of(path) == info.sha256
        except OSError:
            return False

    def check_free(self, name: str, overwrite: bool) -> None:
        """Raise CheckpointError when a save under this name would be refused."""
        if not overwrite and (self._folder(name) / _MANIFEST).exists():
            raise _taken(name)

    def _known(self, name: str) -> CheckpointInfo | None:
        """The manifest; None where there is none that can be read."""
        try:
            info = CheckpointInfo(**json.loads((self._folder(name) / _MANIFEST).read_text("utf-8")))
        except (ValueError, TypeError, OSError, RecursionError):
            return None
        return info if _sound(info, name) else None

    def _write(self, info: CheckpointInfo, overwrite: bool) -> None:
        folder = self._folder(info.name)
        text = json.dumps(asdict(info), indent=1, sort_keys=True)
        scratch = _scratch_in(folder)
        try:
            (replace_text if overwrite else create_text)(folder / _MANIFEST, text, scratch)
        except FileExistsError:
            raise _taken(info.name) from None
        finally:
            scratch.unlink(missing_ok=True)

    def _drop(self, name: str, digests: set[str | None]) -> None:
        """Only data that a manifest has named: of all other files, one may be what another process is about to name."""
        for digest in digests - {None}:
            (self._folder(name) / f"{digest}.safetensors").unlink(missing_ok=True)

    def _others(self, name: str) -> str:
        return ", ".join(other for other in self.names() if other != name) or "none (call save_checkpoint first)"

    def _offer(self, name: str) -> str:
        """What to load instead of a damaged checkpoint: the newest one whose data is as it was saved."""
        good = next((info for info in self.infos() if info.name != name and self._intact(info)), None)
        if good is None:
            return "There is no other good one: save the model again"
        return f"Load the newest good one instead: {good.name!r} (step {good.step}, saved {good.saved_at})"


def _scratch_in(folder: Path) -> Path:
    return folder / f"{_SCRATCH}{secrets.token_hex(8)}"


def _taken(name: str) -> CheckpointError:
    return CheckpointError(f"checkpoint {name!r} exists already: choose another name or pass overwrite=true", name=name)


@contextmanager
def _named(name: str) -> Iterator[None]:
    """Around what the disk may refuse."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {name!r} could not be written: {error.strerror or error}. What was there before is "
            "unchanged: free some space or check the state directory",
            name=name,
        ) from error


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
