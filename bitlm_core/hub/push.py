"""A checkpoint becomes one commit of a repository: all of its files, or nothing.

store ─→ verified, under a name of its own ─→ its large file uploaded ─→ one commit that follows a known one ─→ Pushed

What is uploaded is seen by nobody before the commit; what a push that was broken off has uploaded whole, the next one need not
send.
"""

from __future__ import annotations

import io
import re
import secrets
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import httpx2
from huggingface_hub import CommitOperationAdd, ModelInfo
from huggingface_hub.errors import HfHubHTTPError

from bitlm_core.checkpoint.header import read_header
from bitlm_core.checkpoint.manifest import CheckpointInfo
from bitlm_core.checkpoint.store import CheckpointStore
from bitlm_core.durable import make_folder
from bitlm_core.errors import CheckpointError, ConfigError, HubConflictError, HubError
from bitlm_core.hub.card import card_of
from bitlm_core.hub.connection import WAITS_S, Hub, Share, is_passing, own_version, status_of, untold
from bitlm_core.hub.layout import CARD, CONFIG, DATA, MANIFEST, check_ours, small_files
from bitlm_core.hub.names import COMMIT_PATTERN, check_push
from bitlm_core.hub.pull import read_small

_CONFLICTS = frozenset({409, 412})


@dataclass(frozen=True)
class Pushed:
    """What a push has made: the commit, where people find it, and the size of the checkpoint's data in bytes."""

    repo: str
    commit: str
    url: str
    num_bytes: int
    sha256: str
    step: int


def push_checkpoint(
    hub: Hub,
    store: CheckpointStore,
    name: str,
    repo: str,
    *,
    scratch: Path,
    parent_commit: str | None = None,
    private: bool = True,
    license_id: str | None = None,
    told: Share = untold,
) -> Pushed:
    """Make a checkpoint of the store the content of a repository, which is made where there is none.

    scratch: a folder in the file system of the store. parent_commit: the commit that this one must follow; None: the one that
    is the latest now. private: only who may read the repository sees it; a public one is then refused. license_id: for the
    card, as hubs write it. Pushing again what is there already makes no second commit.

    Raises CheckpointError for what the store cannot give, ConfigError for arguments or a token that is missing,
    HubConflictError when somebody else was quicker, HubRepositoryError for a repository of something else, HubError otherwise.
    """
    check_push(repo, parent_commit, license_id)
    hub.require(token=True)
    path = scratch / f".pushing-{secrets.token_hex(8)}"
    try:
        make_folder(scratch)
        info = store.hold(name, path)
        return _push(hub, info, path, repo, parent_commit, private, license_id, told)
    except OSError as error:
        raise CheckpointError(
            f"checkpoint {name!r} could not be read or held: {error.strerror or error}. Free some space, or check the state "
            "directory",
            name=name,
        ) from error
    finally:
        with suppress(OSError):
            path.unlink()


def _push(
    hub: Hub,
    info: CheckpointInfo,
    path: Path,
    repo: str,
    parent_commit: str | None,
    private: bool,
    license_id: str | None,
    told: Share,
) -> Pushed:
    head = _opened(hub, repo, parent_commit, private)
    header = read_header(path, info.name)
    small = small_files(info, header)
    contents = {
        CONFIG: small.config,
        MANIFEST: small.manifest,
        CARD: card_of(info, header, own_version(), license_id).encode(),
    }
    with _Watched(path, told) as data:
        files = [CommitOperationAdd(DATA, data), *(CommitOperationAdd(name, content) for name, content in contents.items())]
        data.counts = True  # until here it was only hashed
        with hub.told(repo):
            # Whatever the repository ignores, no file of a checkpoint may be left out.
            hub.api.preupload_lfs_files(repo, files, num_threads=1, free_memory=False, gitignore_content="")
        commit = _committed(hub, repo, files, f"{info.name}: step {info.step}", head, small.manifest, told)
    url = f"{hub.endpoint.rstrip('/')}/{repo}/commit/{commit}"
    return Pushed(repo, commit, url, info.bytes_, info.sha256, info.step)


def _opened(hub: Hub, repo: str, parent_commit: str | None, private: bool) -> str:
    """The latest commit of a repository that a push may replace the files of; it is made where there is none to follow."""
    info = hub.find(repo)
    if info is None:
        if parent_commit is not None:
            raise HubError(
                f"{hub.endpoint} shows no {repo} in which this push could follow {parent_commit}: check the name, or leave "
                "parent_commit out to have the repository made",
                repo=repo,
            )
        hub.again(lambda: hub.api.create_repo(repo, private=private, exist_ok=True), repo)
        info = hub.info(repo)
    if private and info.private is False:
        raise ConfigError(
            f"{repo} is public, and this push was to be private: pass private=false, or choose another repository"
        )
    check_ours(_names_in(info), repo)
    if parent_commit not in (None, info.sha):
        raise _conflict(repo, str(parent_commit), str(info.sha))
    return str(info.sha)


def _names_in(info: ModelInfo) -> list[str]:
    return [each.rfilename for each in info.siblings or ()]


def _committed(
    hub: Hub, repo: str, files: list[CommitOperationAdd], message: str, parent: str, manifest: bytes, told: Share
) -> str:
    """Commit what was uploaded. A commit whose answer was lost is found again, not made twice."""
    for seconds in (*WAITS_S, None):
        told(1.0)  # the last moment to stop
        with hub.told(repo):
            try:
                made = hub.api.create_commit(repo, files, commit_message=message, parent_commit=parent, num_threads=1)
                return _checked(made.oid, hub, repo)
            except (HfHubHTTPError, httpx2.TransportError) as error:
                if status_of(error) not in _CONFLICTS and (seconds is None or not is_passing(error)):
                    raise
        found = hub.info(repo)
        head = str(found.sha)
        if head != parent:
            if MANIFEST in _names_in(found) and read_small(hub, repo, head, MANIFEST) == manifest:
                return head
            raise _conflict(repo, parent, head)
        if seconds is not None:
            hub.wait(seconds)
    raise HubError(f"{hub.endpoint} refuses this commit to {repo} again and again: call again later", repo=repo)


def _checked(commit: str, hub: Hub, repo: str) -> str:
    if not re.fullmatch(COMMIT_PATTERN, commit):
        raise HubError(f"the hub {hub.endpoint} has named no commit of {repo}: look there what it has made", repo=repo)
    return commit


def _conflict(repo: str, expected: str, found: str) -> HubConflictError:
    return HubConflictError(
        f"{repo} is at commit {found}, and this push was to follow {expected}: somebody else has pushed meanwhile. Nothing was "
        "changed: look at what is there (pull_checkpoint), then push again with the new parent_commit",
        repo=repo,
        expected=expected,
        found=found,
    )


class _Watched(io.BufferedReader):
    """A file that tells, while it is read, how far that is; the telling may raise. `counts`: from the upload on."""

    def __init__(self, path: Path, told: Share) -> None:
        super().__init__(io.FileIO(path))
        self.counts = False
        self._size, self._told = path.stat().st_size, told

    def read(self, size: int | None = -1, /) -> bytes:
        """As `io.BufferedReader`."""
        self._told(min(self.tell() / self._size, 1.0) if self.counts else 0.0)
        return super().read(size)
