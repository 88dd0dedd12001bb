"""A repository becomes a file that may be published as a checkpoint: all of it as its manifest tells, or nothing.

the hub's listing ─→ manifest ─→ sizes ─→ config ─→ data, to a scratch folder ─→ SHA-256 ─→ header ─→ Fetched

Everything is of the one commit that the listing names. Whether the tensors make a model, only who loads them can tell: the file
is for `CheckpointStore.publish` after that. What was downloaded of a transfer that was broken off waits in the scratch folder
under its SHA-256, and the next one goes on from there.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import httpx2
from huggingface_hub.errors import HfHubHTTPError

from bitlm_core.checkpoint.header import read_header
from bitlm_core.durable import digest_of, make_folder, require_space
from bitlm_core.errors import CheckpointError, HubRepositoryError
from bitlm_core.hub.connection import WAITS_S, Hub, Share, is_passing, status_of, untold
from bitlm_core.hub.layout import (
    CONFIG,
    DATA,
    MANIFEST,
    MAX_SMALL_BYTES,
    FilePart,
    check_header,
    check_listed,
    check_whole,
    damaged,
    foreign,
    read_config,
    read_manifest,
)
from bitlm_core.hub.names import check_fetch

_CHUNK = 1 << 18


@dataclass(frozen=True)
class Fetched:
    """A file that was pulled, whole and with a header that this program reads; `path` is the caller's to move or remove."""

    path: Path
    repo: str
    commit: str
    step: int
    num_bytes: int
    sha256: str


def fetch_checkpoint(hub: Hub, repo: str, *, scratch: Path, revision: str | None = None, told: Share = untold) -> Fetched:
    """Download the checkpoint in a repository, as of a revision (branch, tag or commit), or else of its latest commit.

    Raises ConfigError for arguments, HubRepositoryError for a repository of something else or a damaged one,
    CheckpointVersionError for one of another format, ResourceLimitError for one that has no room, CheckpointError where the
    disk refuses, and HubError otherwise. Then there is nothing, but for what waits to be gone on with.
    """
    check_fetch(repo, revision)
    hub.require(token=False)
    info = hub.info(repo, revision)
    sizes = {each.rfilename: each.size for each in info.siblings or ()}
    if MANIFEST not in sizes:
        raise foreign(repo)
    commit = str(info.sha)
    manifest = read_manifest(read_small(hub, repo, commit, MANIFEST), repo)
    check_listed(manifest, sizes, repo)
    config = read_small(hub, repo, commit, CONFIG)
    check_whole(config, manifest.files.config, CONFIG, repo)
    told_config = read_config(config, repo)
    part = manifest.files.data
    with _claimed(scratch, part, repo) as path:
        _download(hub, repo, commit, part, path, told)
        if digest_of(path) != part.sha256:
            raise damaged(repo, DATA, part)
        check_header(read_header(path, repo), told_config, manifest, repo)
        target = path.with_name(f".pulled-{secrets.token_hex(8)}")
        path.replace(target)
    return Fetched(target, repo, commit, manifest.step, part.bytes, part.sha256)


def read_small(hub: Hub, repo: str, commit: str, name: str) -> bytes:
    """A small file of a repository. Raises HubRepositoryError for one that is not small, HubError otherwise."""

    def read() -> bytes:
        found = b""
        with hub.stream(repo, commit, name) as response:
            for chunk in response.iter_raw():
                found += chunk
                if len(found) > MAX_SMALL_BYTES:
                    break
        return found

    found = hub.again(read, repo)
    if len(found) > MAX_SMALL_BYTES:
        raise HubRepositoryError(
            f"{name} of {repo} has more than the {MAX_SMALL_BYTES:,} bytes that such a file may have: pull another repository",
            repo=repo,
        )
    return found


@contextmanager
def _claimed(scratch: Path, part: FilePart, repo: str) -> Iterator[Path]:
    """A path for a download, with what an earlier one has left; what a broken line leaves is kept, what is wrong is not."""
    kept, path = scratch / f"{part.sha256}.part", scratch / f".pulling-{secrets.token_hex(8)}"
    try:
        make_folder(scratch)
        with suppress(FileNotFoundError):
            kept.replace(path)
        try:
            yield path
        except (HubRepositoryError, CheckpointError):
            path.unlink(missing_ok=True)
            raise
        except BaseException:
            with suppress(FileNotFoundError):
                path.replace(kept)
            raise
    except OSError as error:
        raise CheckpointError(
            f"the checkpoint in {repo} could not be stored: {error.strerror or error}. Free some space, or check the state "
            "directory",
            name=repo,
        ) from error


def _download(hub: Hub, repo: str, commit: str, part: FilePart, path: Path, told: Share) -> None:
    """Make the file at `path` as long as it should be; a line that breaks is taken up again where it broke."""
    require_space(path.parent, part.bytes - (path.stat().st_size if path.exists() else 0), f"the checkpoint in {repo}")
    path.touch()
    waits = iter(WAITS_S)
    while (start := path.stat().st_size) < part.bytes:
        with hub.told(repo):
            try:
                _append(hub, repo, commit, part, path, told)
            except (HfHubHTTPError, httpx2.TransportError) as error:
                if status_of(error) == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
                    break  # the file ends before it should
                if path.stat().st_size > start:  # it goes on
                    waits = iter(WAITS_S)
                seconds = next(waits, None)
                if seconds is None or not is_passing(error):
                    raise
                hub.wait(seconds)
                continue
        if path.stat().st_size <= start:
            break
    if path.stat().st_size != part.bytes:
        raise damaged(repo, DATA, part)


def _append(hub: Hub, repo: str, commit: str, part: FilePart, path: Path, told: Share) -> None:
    """Add what a response brings, up to one byte too many; from the beginning where the hub sends the whole file."""
    start = path.stat().st_size
    told(start / part.bytes)
    with hub.stream(repo, commit, DATA, start) as response, path.open("r+b") as file:
        done = start if response.status_code == HTTPStatus.PARTIAL_CONTENT else 0
        file.seek(done)
        file.truncate()
        for chunk in response.iter_raw(_CHUNK):
            file.write(chunk[: part.bytes + 1 - done])
            done = file.tell()
            if done > part.bytes:
                return
            told(done / part.bytes)
