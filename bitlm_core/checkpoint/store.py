"""Checkpoints by name in one directory, each always either the old one or the new one, never a mixture. No torch in here.

    NAME/manifest.json            which data file is current, its size and SHA-256, the step
    NAME/<sha256>.safetensors     the data; never changed, only replaced by another
    NAME/metrics.json             what is told of how it came about, where there is something
    NAME/.saving-<random>         data that is being written and that nobody may read yet

A save writes the data under a scratch name, syncs it, renames it, then replaces the manifest and syncs the directory.
Whatever moment the machine stops at, the manifest names a complete file. Several processes may share the directory.
"""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bitlm_core.checkpoint.manifest import CheckpointInfo, read_manifest
from bitlm_core.durable import (
    alone_in,
    change_within,
    create_text,
    digest_of,
    link_or_copy,
    make_folder,
    remove_within,
    replace_text,
    sweep_folders,
    sync,
)
from bitlm_core.errors import CheckpointCorruptError, CheckpointError, CheckpointNotFoundError

NAME_PATTERN = r"[a-z0-9][a-z0-9._-]{0,63}"
"""What a checkpoint may be called, and whatever else is named by callers."""
_MANIFEST = "manifest.json"
_METRICS = "metrics.json"
_SCRATCH = ".saving-"


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
        try:
            with _named(name):
                sync(data)
                size, digest = data.stat().st_size, digest_of(data)
                with alone_in(self._folder(name)):
                    before = self._known(name)
                    info = CheckpointInfo(
                        name=name,
                        step=step,
                        bytes_=size,
                        sha256=digest,
                        saved_at=datetime.now(UTC).isoformat(timespec="microseconds"),
                        summary=summary,
                        pinned=pinned,
                        previous=before.sha256 if before and self.keep_previous else None,
                    )
                    self._install(info, data, overwrite, guard)
                    if before:
                        self._drop(name, {before.sha256, before.previous} - {info.sha256, info.previous})
        finally:
            data.unlink(missing_ok=True)
        return info

    def _install(
        self,
        info: CheckpointInfo,
        data: Path,
        overwrite: bool,
        guard: Callable[[CheckpointInfo], AbstractContextManager[object]],
    ) -> None:
        folder = self._folder(info.name)

        def change() -> None:
            data.replace(self._data(info))
            self._write(info, overwrite)

        change_within(guard(info), folder / _MANIFEST, change, _scratch_in(folder))

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
        self.info(name)
        with _named(name), alone_in(self._folder(name)):
            info = replace(self.info(name), pinned=pinned)
            self._write(info, overwrite=True)
        return info

    def tell_metrics(self, name: str, metrics: Mapping[str, Any] | None) -> None:
        """Put what is told of how a checkpoint came about beside it; None: nothing, and no longer what was told before.

        Raises CheckpointError where the disk refuses.
        """
        path = self._folder(name) / _METRICS
        with _named(name):
            if metrics is None:
                path.unlink(missing_ok=True)
            else:
                replace_text(path, json.dumps(metrics, indent=1), _scratch_in(path.parent))

    def delete(self, name: str, guard: AbstractContextManager[object] | None = None) -> None:
        """Remove a checkpoint inside `guard`, which may refuse it at its beginning or its end.

        Raises CheckpointNotFoundError when there is none; a damaged one may be removed.
        """
        folder = self._folder(name)
        if not (folder / _MANIFEST).exists():
            raise CheckpointNotFoundError(f"there is no checkpoint {name!r}. Available: {self._others(name)}", name=name)
        with _named(name), alone_in(folder):
            remove_within(guard or nullcontext(), folder)

    def sweep(self) -> None:
        """Remove what writers that were killed left behind. Only for when nobody writes: it would be taken for left behind."""
        left_over = list(self.root.glob("*/.*"))  # ours, and those of the library that writes tensors
        for info in self.infos():  # of a damaged one nobody knows what is left over
            data = self._folder(info.name).glob("*.safetensors")
            left_over += [path for path in data if path.stem not in (info.sha256, info.previous)]
        for path in left_over:
            path.unlink(missing_ok=True)
        sweep_folders(self.root)

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
        if (self._folder(name) / _MANIFEST).exists() and not overwrite:
            raise _taken(name)

    def _known(self, name: str) -> CheckpointInfo | None:
        """The manifest; None where there is none that can be read."""
        return read_manifest(self._folder(name) / _MANIFEST, name)

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
        """Data that the manifest named before and does not name now; others may hold scratch files in the same folder."""
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
