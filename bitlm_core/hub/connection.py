"""One hub, as `huggingface_hub` speaks with it: what is asked, tried again, and said when it refuses.

The library reads its settings from the environment when it is imported, and keeps them for the whole process. `_settle` sets
those that matter here at the first use of a hub, whenever the import was: no telemetry, no upload by another protocol, no bar
on the terminal, no token file, no wait that a hub may choose. What it answers is not trusted: files have limits of size, and
commits a pattern.
"""

from __future__ import annotations

import logging
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any, TypeVar

import httpx2
import huggingface_hub
from huggingface_hub import HfApi, ModelInfo, constants
from huggingface_hub.errors import HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

from bitlm_core.errors import ConfigError, HubError
from bitlm_core.hub.names import COMMIT_PATTERN, HUB_ENDPOINT

TIMEOUT_S = 30.0
"""Without a byte in either direction."""
WAITS_S = (1.0, 2.0, 4.0)
"""Before each further try of a request that a busy hub or a broken line has failed."""
_BUSY = frozenset({408, 429, 500, 502, 503, 504})
_TOLD_CHARACTERS = 300

Found = TypeVar("Found")
Share = Callable[[float], None]
"""Takes how far a transfer is, 0 … 1; it may end it by raising what is no Exception, as KeyboardInterrupt is none."""


def untold(share: float) -> None:
    """For nobody who follows."""


@dataclass(frozen=True)
class Hub:
    """Which hub, and on whose behalf. `token`: never shown; None reads what is public. `offline`: ask nothing of it.

    `wait`: sleeps for so many seconds before a further try.
    """

    endpoint: str = HUB_ENDPOINT
    token: str | None = field(default=None, repr=False)
    offline: bool = False
    wait: Callable[[float], None] = field(default=time.sleep, repr=False)

    def require(self, *, token: bool) -> None:
        """Raise HubError when this hub must not be asked, ConfigError when a token is needed and there is none."""
        if self.offline or constants.is_offline_mode():
            raise HubError(
                f"the hub {self.endpoint} was not asked, because this program is set to stay offline: start it without "
                "--hub-offline and HF_HUB_OFFLINE"
            )
        if token and not self.token:
            raise ConfigError(
                "a push needs a token, and none is set: put one that may write into this program's environment, as HF_TOKEN"
            )
        _settle()

    @property
    def api(self) -> HfApi:
        """The library's door to this hub; inside `told` and after `require`."""
        return HfApi(endpoint=self.endpoint, token=self.token or False, library_name="bitlm", library_version=own_version())

    def info(self, repo: str, revision: str | None = None) -> ModelInfo:
        """What the hub says of a repository at a revision: its commit, and its files with their sizes. Raises HubError."""
        return self._with_commit(self.again(lambda: self._ask(repo, revision), repo), repo)

    def find(self, repo: str) -> ModelInfo | None:
        """The same of its latest commit; None where the hub shows no such repository."""
        with self.told(repo):
            try:
                found = self._again(lambda: self._ask(repo, None))
            except RepositoryNotFoundError:
                return None
        return self._with_commit(found, repo)

    def again(self, ask: Callable[[], Found], repo: str) -> Found:
        """What `ask` returns, tried again a few times while the hub is busy or the line breaks. Raises HubError."""
        with self.told(repo):
            return self._again(ask)

    def _again(self, ask: Callable[[], Found]) -> Found:
        for seconds in WAITS_S:
            try:
                return ask()
            except (HfHubHTTPError, httpx2.TransportError) as error:
                if not is_passing(error):
                    raise
                self.wait(seconds)
        return ask()

    def _ask(self, repo: str, revision: str | None) -> ModelInfo:
        return self.api.model_info(repo, revision=revision, files_metadata=True)

    def _with_commit(self, info: ModelInfo, repo: str) -> ModelInfo:
        if not re.fullmatch(COMMIT_PATTERN, info.sha or ""):
            raise HubError(f"the hub {self.endpoint} names no commit of {repo}: is it a hub of models?", repo=repo)
        return info

    @contextmanager
    def stream(self, repo: str, commit: str, name: str, start: int = 0) -> Iterator[httpx2.Response]:
        """One file of a repository from byte `start` on, to be read inside; raises what the library raises."""
        headers = {"user-agent": f"bitlm/{own_version()}", "accept-encoding": "identity"}
        headers |= {"authorization": f"Bearer {self.token}"} if self.token else {}
        headers |= {"range": f"bytes={start}-"} if start else {}
        url = huggingface_hub.hf_hub_url(repo, name, revision=commit, endpoint=self.endpoint)
        with huggingface_hub.get_session().stream("GET", url, headers=headers) as response:
            huggingface_hub.hf_raise_for_status(response)
            yield response

    @contextmanager
    def told(self, repo: str) -> Iterator[None]:
        """Around all that asks the hub: what the library raises becomes a HubError, in which no token stands."""
        try:
            yield
        except (RepositoryNotFoundError, RevisionNotFoundError) as error:
            what = "such a revision" if isinstance(error, RevisionNotFoundError) else "such a repository"
            raise HubError(
                f"{self.endpoint} shows nobody {what} of {repo}"
                + (" with this token" if self.token else " without a token (HF_TOKEN)")
                + ": check the name, and whether the token may read it",
                repo=repo,
            ) from None
        except HfHubHTTPError as error:
            raise HubError(self._refusal(error), repo=repo, status=error.response.status_code) from None
        except (httpx2.HTTPError, httpx2.InvalidURL, RuntimeError, ValueError, KeyError, TypeError) as error:
            raise HubError(self._broken(error), repo=repo) from None

    def _refusal(self, error: HfHubHTTPError) -> str:
        status, said = error.response.status_code, self._without_token(error.server_message or "")
        remedy = {
            401: "the token is not known there: set another HF_TOKEN",
            403: "the token may not do that: set one that may, or choose another repository",
        }.get(status, "it is busy: call again later" if status in _BUSY else "see what it says")
        return f"{self.endpoint} has answered {status}{f' ({said})' if said else ''}: {remedy}"

    def _broken(self, error: Exception) -> str:
        cause = error.__cause__ if isinstance(error, RuntimeError) and error.__cause__ else error
        if isinstance(cause, HfHubHTTPError):
            return self._refusal(cause)
        said = self._without_token(str(cause))
        return f"the line to {self.endpoint} broke, or it was not understood ({type(cause).__name__}: {said}): call again"

    def _without_token(self, text: str) -> str:
        """What a hub says, in one short line that commands no terminal; it may repeat what it was sent."""
        line = " ".join("".join(each if each.isprintable() else " " for each in text).split())
        return (line.replace(self.token, "…") if self.token else line)[:_TOLD_CHARACTERS]


def status_of(error: Exception) -> int | None:
    """What a hub has answered; None where it has not."""
    return int(error.response.status_code) if isinstance(error, HfHubHTTPError) else None


def is_passing(error: Exception) -> bool:
    """Whether the same request may succeed in a while."""
    return status_of(error) in (None, *_BUSY)


@cache
def _settle() -> None:
    """Set the library's switches; see the module's docstring."""
    switches: Any = constants
    for name in ("TELEMETRY", "XET", "IMPLICIT_TOKEN", "UPDATE_CHECK"):
        setattr(switches, f"HF_HUB_DISABLE_{name}", True)
    bars: Any = import_module("huggingface_hub.utils.tqdm")  # under that name the package has a class
    bars.HF_HUB_DISABLE_PROGRESS_BARS = True
    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # its warnings show addresses that are signed
    huggingface_hub.set_client_factory(_client)


def _client() -> httpx2.Client:
    """As the library's own, but for the time that a silent hub is waited for, or a busy one."""
    return httpx2.Client(follow_redirects=True, timeout=TIMEOUT_S, event_hooks={"response": [_without_waits]})


def _without_waits(response: httpx2.Response) -> None:
    """Take away how long a hub asks to be left alone: the library would sleep for a day, and nothing could stop it."""
    for name in ("retry-after", "ratelimit"):
        response.headers.pop(name, None)


@cache
def own_version() -> str:
    """Of this program; "0" where it was never installed."""
    try:
        return version("bitlm")
    except PackageNotFoundError:  # run from its sources
        return "0"
