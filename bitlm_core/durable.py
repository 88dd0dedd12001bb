"""Files that survive: what these functions have done is on the disk when they return, or has not happened at all.

The order that makes a change atomic: write under a temporary name in the same folder, `sync` the file, rename it, `sync`
the folder. Whatever moment the machine stops at, a name leads to the old content or to the new one. A change that also
stands elsewhere, as in a database, is made by `change_within`: both happen, or neither.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path

from bitlm_core.errors import ResourceLimitError

SPARE_DISK_BYTES = 64 << 20
"""What is left free for everybody else: a file that would take it is not begun."""

_CHUNK = 1 << 22
_REMOVING = ".removing-"


def sync(path: Path) -> None:
    """Wait until a file's content, or a folder's names, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def digest_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def make_folder(path: Path) -> None:
    """A folder whose name is on the disk too; one that is there already stays as it is."""
    try:
        path.mkdir()
    except FileExistsError:
        return
    except FileNotFoundError:
        make_folder(path.parent)
        make_folder(path)
        return
    sync(path.parent)


def remove_within(guard: AbstractContextManager[object], folder: Path) -> None:
    """Remove a folder with all that is in it inside `guard`, whose failure at its end brings it back.

    It goes under another name at once, so that nobody can put anything into it meanwhile; that is what a stop on the way
    leaves for `sweep_folders`. Raises FileNotFoundError when there is no such folder.
    """
    hidden, moved = folder.with_name(f"{_REMOVING}{secrets.token_hex(8)}"), False
    try:
        with guard:
            folder.rename(hidden)
            moved = True
            sync(folder.parent)
    except BaseException:
        if moved:
            hidden.rename(folder)
        raise
    shutil.rmtree(hidden, ignore_errors=True)


def sweep_folders(root: Path) -> None:
    """Remove what stops of `remove_within` left below `root`, and empty folders. Data that lacks its description stays: it
    may be all that is left of something.
    """
    for hidden in root.glob(f"{_REMOVING}*"):
        shutil.rmtree(hidden, ignore_errors=True)
    for folder in root.glob("*/"):
        with suppress(OSError):  # it is not empty
            folder.rmdir()


def replace_text(path: Path, text: str, scratch: Path) -> None:
    """Make `text` the content of `path`, atomically, by way of `scratch` in the same file system."""
    _write_scratch(scratch, text)
    scratch.replace(path)
    sync(path.parent)


def write_whole(path: Path, data: bytes, *, overwrite: bool) -> None:
    """Make `data` the content of `path`: it appears when all of it is on the disk, or not at all.

    Raises FileExistsError when there is anything at `path` (without `overwrite`), and OSError where the disk refuses.
    """
    scratch = path.with_name(f".bitlm-{secrets.token_hex(8)}")
    try:
        scratch.write_bytes(data)
        sync(scratch)
        if overwrite:
            scratch.replace(path)
        else:
            os.link(scratch, path)
        sync(path.parent)
    finally:
        scratch.unlink(missing_ok=True)


def create_text(path: Path, text: str, scratch: Path) -> None:
    """As `replace_text`, but raises FileExistsError when there is anything at `path`; of two that race, one wins."""
    _write_scratch(scratch, text)
    os.link(scratch, path)
    scratch.unlink()
    sync(path.parent)


@contextmanager
def alone_in(folder: Path, *, wait: bool = True) -> Iterator[None]:
    """Keep all others, threads and processes, from being in here with the same folder.

    Raises FileNotFoundError where it is not there, and without `wait` BlockingIOError where somebody is in here.
    """
    while True:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.fstat(descriptor).st_ino == folder.stat().st_ino:  # else it was replaced while we waited
                yield
                return
        finally:
            os.close(descriptor)


def change_within(guard: AbstractContextManager[object], path: Path, change: Callable[[], object], scratch: Path) -> None:
    """Let `change` write the file at `path` inside `guard`, and undo that when `guard` fails at its end.

    guard: keeps other writers of the file away, and makes the other half of the change. scratch: where the content before is
    kept meanwhile, in the same file system. Raises what either of them raises; then the file is as it was.
    """
    kept = changed = False
    try:
        with guard:
            with suppress(FileNotFoundError):
                link_or_copy(path, scratch)
                kept = True
            change()
            changed = True
    except BaseException:
        if changed and kept:
            scratch.replace(path)
        elif changed:
            path.unlink(missing_ok=True)
        raise
    finally:
        scratch.unlink(missing_ok=True)


def link_or_copy(source: Path, target: Path) -> None:
    """A second name for the same content; a copy where the file system has no hard links. Raises FileNotFoundError."""
    try:
        os.link(source, target)
    except (FileNotFoundError, FileExistsError):
        raise
    except OSError:
        shutil.copyfile(source, target)
        sync(target)


def require_space(folder: Path, num_bytes: int, what: str) -> None:
    """Raise ResourceLimitError when the disk of `folder` has no room for so many bytes and the spare ones."""
    limit = shutil.disk_usage(folder).free - SPARE_DISK_BYTES
    if num_bytes > limit:
        raise ResourceLimitError(
            f"{what} needs {num_bytes:,} bytes, and the disk of the state directory has room for {max(0, limit):,}: "
            "free some space. What was there before is unchanged",
            estimate=num_bytes,
            limit=limit,
        )


def _write_scratch(scratch: Path, text: str) -> None:
    scratch.write_text(text, "utf-8")
    sync(scratch)
