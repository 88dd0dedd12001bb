"""What an operator may choose about one server process, checked once and then frozen."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator, model_validator

import bitlm_core
from bitlm_core import HUB_ENDPOINT

MIN_TOKEN_LENGTH = 16
RENDEZVOUS = r"^[A-Za-z0-9._-]+:[1-9][0-9]{0,4}$"
"""HOST:PORT."""


def is_loopback(host: str) -> bool:
    """Whether a host name or address (without port, without brackets) can only mean this machine."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def is_safe_url(text: str) -> bool:
    """Whether a URL is https, or http on this machine, where tests and proxies live."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return bool(parts.hostname) and (parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or "")))


class OAuthSettings(BaseModel):
    """Whose access tokens are accepted, and for what."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    issuer: Annotated[str, Field(max_length=2048, description="The authorization server's identifier: an https URL.")]
    resource: Annotated[str, Field(max_length=2048, description="This server's identifier: the URL that clients use.")]
    scopes: Annotated[tuple[str, ...], Field(max_length=32, description="Scopes that a token must have.")] = ()

    @field_validator("issuer", "resource")
    @classmethod
    def _url(cls, text: str) -> str:
        if not is_safe_url(text) or "?" in text or "#" in text:
            raise ValueError(f"{text} is no https URL without query and fragment")
        return text


class HubSettings(BaseModel):
    """The hub of models that checkpoints are pushed to and pulled from, and on whose behalf."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    endpoint: Annotated[str, Field(max_length=2048, description="Its address: an https URL.")] = HUB_ENDPOINT
    offline: Annotated[bool, Field(description="Ask nothing of it.")] = False
    token: Annotated[SecretStr | None, Field(description="What this server shows it; None: what is public can be read.")] = None

    @field_validator("endpoint")
    @classmethod
    def _url(cls, text: str) -> str:
        if not is_safe_url(text) or any(mark in text for mark in "?#@"):
            raise ValueError("the hub's address is no https URL without user, query and fragment")
        return text.rstrip("/")

    @field_validator("token")
    @classmethod
    def _sendable(cls, token: SecretStr | None) -> SecretStr | None:
        """Only what a header can carry, and nothing where the variable is set and empty."""
        secret = token.get_secret_value().strip() if token else ""
        if not all("!" <= letter <= "~" for letter in secret):
            raise ValueError("HF_TOKEN is no token: it may hold printable ASCII characters alone")
        return SecretStr(secret) if secret else None

    def hub(self) -> bitlm_core.Hub:
        """The hub itself. Loads the library that speaks with it."""
        token = self.token.get_secret_value() if self.token else None
        return bitlm_core.Hub(endpoint=self.endpoint, token=token, offline=self.offline)


Device = Literal["auto", "cpu", "cuda"]
Toolset = Literal["models", "data", "training", "inference", "compression", "telemetry", "checkpoints", "tuning", "hub", "all"]


class ServerSettings(BaseModel):
    """Settings of one server process; the command line fills them in."""

    # A refused token must not appear in the message that refuses it.
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    state_dir: Annotated[Path, Field(description="Directory of the database, the checkpoints and the datasets.")]
    allow_dirs: Annotated[
        tuple[Path, ...], Field(max_length=64, description="Roots from which callers may name data files to read.")
    ] = ()
    max_wait_s: Annotated[
        float,
        Field(ge=1, le=600, allow_inf_nan=False, description="Longest time one call may wait for a job, seconds."),
    ] = 45.0
    toolsets: Annotated[
        tuple[Toolset, ...], Field(description="Sets of tools that are offered; none: all but tuning and hub.")
    ] = ()
    tools: Annotated[tuple[str, ...], Field(max_length=64, description="Tools that are offered beside the sets.")] = ()
    read_only: Annotated[bool, Field(description="Offer only tools that change nothing.")] = False
    calls_per_second: Annotated[
        float, Field(gt=0, le=1e6, allow_inf_nan=False, description="Tool calls that one client may make in the long run.")
    ] = 50.0
    isolate: Annotated[bool, Field(description="Compute in a process of its own, whose death costs nobody else.")] = False
    autosave_s: Annotated[
        float, Field(gt=0, le=86_400, allow_inf_nan=False, description="A training saves its model this often, seconds.")
    ] = 30.0
    keep_last: Annotated[
        int | None, Field(ge=1, le=10_000, description="How many unpinned checkpoints of a model stay; None: all.")
    ] = None
    job_ttl_s: Annotated[
        float, Field(ge=60, le=1e9, allow_inf_nan=False, description="How long a job that has ended is remembered, seconds.")
    ] = 7 * 86_400.0
    threads: Annotated[int | None, Field(ge=1, le=1024, description="Compute threads; None lets the engine choose.")] = None
    shards_every_s: Annotated[
        float,
        Field(gt=0, le=86_400, allow_inf_nan=False, description="Seconds between sharded checkpoints of several processes."),
    ] = 60.0
    max_restarts: Annotated[
        int, Field(ge=0, le=1000, description="How often processes that share a training are started again after a loss.")
    ] = 3
    rdzv_endpoint: Annotated[
        str | None,
        Field(pattern=RENDEZVOUS, description="HOST:PORT, on this machine, where several meet."),
    ] = None
    device: Annotated[Device, Field(description="Where models compute; auto: on a CUDA device, if there is one.")] = "auto"
    host: Annotated[str, Field(min_length=1, max_length=253, description="Address to listen on.")] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535, description="Port to listen on; 0 takes any free one.")] = 8765
    allow_hosts: Annotated[
        tuple[str, ...],
        Field(max_length=64, description="Further host names under which callers may reach the server."),
    ] = ()
    trusted_proxies: Annotated[
        tuple[str, ...], Field(max_length=64, description="Addresses or networks of proxies, whose word on clients is taken.")
    ] = ()
    drain_s: Annotated[
        float, Field(ge=0, le=3600, allow_inf_nan=False, description="Over HTTP: how long to serve on when told to stop.")
    ] = 0.0
    token: Annotated[SecretStr | None, Field(description="Secret that every HTTP request must carry.")] = None
    open_page: Annotated[bool, Field(description="Who has no token may look at the page, and do nothing else.")] = False
    max_upload_mib: Annotated[int, Field(ge=1, le=16_384, description="Largest file that the page may upload, MiB.")] = 1024
    oauth: Annotated[OAuthSettings | None, Field(description="Accept access tokens of an authorization server.")] = None
    tls_cert: Annotated[Path | None, Field(description="Certificate chain (PEM) to serve https with.")] = None
    tls_key: Annotated[Path | None, Field(description="Private key (PEM) of the certificate.")] = None
    insecure: Annotated[bool, Field(description="Listen beyond loopback without a token.")] = False
    hub: Annotated[HubSettings, Field(description="Where checkpoints are pushed to and pulled from.")] = HubSettings()
    dashboard: Annotated[bool, Field(description="Under stdio: serve the dashboard on the next free port.")] = False

    @field_validator("state_dir")
    @classmethod
    def _absolute(cls, path: Path) -> Path:
        return path.expanduser().resolve()

    @field_validator("allow_dirs")
    @classmethod
    def _existing_roots(cls, roots: tuple[Path, ...]) -> tuple[Path, ...]:
        """Resolve symbolic links now, so that later containment checks compare real paths."""
        resolved = tuple(root.expanduser().resolve() for root in roots)
        for root in resolved:
            if not root.is_dir():
                raise ValueError(f"{root} is not a directory: name an existing one")
        return resolved

    @field_validator("trusted_proxies")
    @classmethod
    def _networks(cls, proxies: tuple[str, ...]) -> tuple[str, ...]:
        for proxy in proxies:
            try:
                ipaddress.ip_network(proxy)
            except ValueError:
                raise ValueError(f"{proxy!r} is no address or network: write 10.0.0.5 or 10.0.0.0/24") from None
        return proxies

    @field_validator("host")
    @classmethod
    def _without_brackets(cls, host: str) -> str:
        return host.removeprefix("[").removesuffix("]")

    @field_validator("token")
    @classmethod
    def _strong_token(cls, token: SecretStr | None) -> SecretStr | None:
        """Only characters that survive an HTTP header unchanged; long enough not to be guessed."""
        if token is None:
            return None
        secret = token.get_secret_value()
        if len(secret) < MIN_TOKEN_LENGTH or not all("!" <= letter <= "~" for letter in secret):
            raise ValueError(
                f"a token needs at least {MIN_TOKEN_LENGTH} printable ASCII characters without spaces; "
                "make one with: python -c 'import secrets; print(secrets.token_urlsafe(32))'"
            )
        return token

    @model_validator(mode="after")
    def _closed_by_default(self) -> Self:
        if not is_loopback(self.host) and self.token is None and self.oauth is None and not self.insecure:
            raise ValueError(
                f"host {self.host} can be reached from other machines, and no token is set: set BITLM_TOKEN, use "
                "--oauth-issuer, listen on 127.0.0.1, or accept the risk with --insecure"
            )
        return self

    @model_validator(mode="after")
    def _open_beside_a_token(self) -> Self:
        if self.open_page and self.token is None and self.oauth is None:
            raise ValueError("--open-page is for a server with a token (BITLM_TOKEN, --oauth-issuer): without one all is open")
        return self

    @model_validator(mode="after")
    def _whole_certificate(self) -> Self:
        if (self.tls_cert is None) != (self.tls_key is None):
            raise ValueError("--tls-cert and --tls-key belong together: give both, or neither")
        for path in (self.tls_cert, self.tls_key):
            if path is not None and not path.is_file():
                raise ValueError(f"{path} is no file: give the path of a PEM file")
        return self
