"""How hubs name things, and what no push or pull can have. The library that speaks with hubs is not loaded by this."""

from __future__ import annotations

import re

from bitlm_core.errors import ConfigError

HUB_ENDPOINT = "https://huggingface.co"
"""The hub that is meant where no other is named."""
_NAME = r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,62}[A-Za-z0-9_])?"
_REPO = f"{_NAME}/{_NAME}"
_REVISION = r"[A-Za-z0-9][A-Za-z0-9._/-]{0,199}"
_LICENSE = r"[a-z0-9][a-z0-9.-]{0,63}"
COMMIT_PATTERN = r"[0-9a-f]{40}"


def check_push(repo: str, parent_commit: str | None, license_id: str | None) -> None:
    """Raise ConfigError for arguments that no push can have."""
    _check_repo(repo)
    if parent_commit is not None and not re.fullmatch(COMMIT_PATTERN, parent_commit):
        raise ConfigError(f"parent_commit={parent_commit!r:.60} is no commit: give the 40 digits that a push has returned")
    if license_id is not None and not re.fullmatch(_LICENSE, license_id):
        raise ConfigError(f"license {license_id!r:.80} is no identifier of one: write it like apache-2.0, or leave it out")


def check_fetch(repo: str, revision: str | None) -> None:
    """Raise ConfigError for arguments that no pull can have."""
    _check_repo(repo)
    if revision is not None and (not re.fullmatch(_REVISION, revision) or ".." in revision):
        raise ConfigError(f"revision {revision!r:.100} is none: write a branch, a tag or a commit")


def _check_repo(repo: str) -> None:
    if not re.fullmatch(_REPO, repo) or ".." in repo or "--" in repo or repo.endswith(".git"):
        raise ConfigError(
            f"repo {repo!r:.100} names no repository: write OWNER/NAME, each of 1-64 letters, digits, '-', '_' and '.'"
        )
