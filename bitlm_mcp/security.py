"""The guard in front of every route: host, origin, token, response headers.

Against whom: web pages that the user happens to visit (a page may reach loopback by DNS rebinding or with plain
cross-origin requests), other machines where the server was opened to them, and markup in data that the dashboard
shows. Not against other programs of the same user, who may read the state directory anyway.

Pure ASGI: nothing is buffered, so event streams pass through as they come.
"""

from __future__ import annotations

import base64
import binascii
import hmac
import ipaddress
import logging
import re
import time
from typing import Literal

from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bitlm_mcp.oauth import RESOURCE_PATH, AccessTokens, metadata_url
from bitlm_mcp.settings import ServerSettings, is_loopback

audit = logging.getLogger("bitlm.audit")

# Stricter than a URL parser, which would forgive user names, paths and fragments.
_HOST = re.compile(r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._-]+)(:(?P<port>[0-9]{1,5}))?")

OPEN_PATHS = frozenset({"/health", "/ready", RESOURCE_PATH})
SHOWN_PATHS = frozenset({"/", "/favicon.ico", "/api/status", "/api/events", "/api/session"})
SHOWN_BELOW = ("/static/", "/api/models/")
"""What `open_page` shows to those who have no token: to look at, never to change."""

TokenState = Literal["none", "needed", "given"]
"""How a request stands with the token: none is asked for, it has none that is right, or it has one."""
AUDIT_EVERY_S = 10.0
MAX_REFUSED = 10_000
RESPONSE_HEADERS = {
    "content-security-policy": (
        "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
}


def split_host(netloc: str) -> tuple[str, str] | None:
    """The lower-case name and the port of a Host header; None where it is malformed."""
    match = _HOST.fullmatch(netloc)
    if match is None or int(match["port"] or 0) > 65_535:
        return None
    return match["name"].strip("[]").rstrip(".").lower(), match["port"] or ""


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class Guard:
    """Refuses a request before any route sees it, or lets it through and hardens the answer."""

    def __init__(self, app: ASGIApp, settings: ServerSettings) -> None:
        self.app = app
        self.names = {settings.host.lower(), *(name.lower() for name in settings.allow_hosts)}
        # Bound to all interfaces we cannot list our names. DNS rebinding needs a name, so plain addresses are safe.
        self.any_address = settings.host in {"0.0.0.0", "::"}  # noqa: S104
        self.token = settings.token.get_secret_value().encode() if settings.token else None
        self.oauth = settings.oauth
        self.access_tokens = AccessTokens(settings.oauth) if settings.oauth else None
        self._guarded = self.token is not None or self.oauth is not None
        self._open_page = settings.open_page
        self._refused: dict[str, tuple[float, int]] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Check, then hand on."""
        if scope["type"] == "lifespan":
            await self.app(scope, receive, send)
        elif scope["type"] != "http":
            await send({"type": "websocket.close", "code": 1008})
        else:

            async def hardened(message: Message) -> None:
                if message["type"] == "http.response.start":
                    headers = MutableHeaders(scope=message)
                    headers.update(RESPONSE_HEADERS)
                    headers.setdefault("cache-control", "no-store")
                await send(message)

            refusal = await self._refusal(scope)
            if refusal is not None:
                self._record(scope, str(refusal.status_code))
            await (refusal or self.app)(scope, receive, hardened)

    async def _refusal(self, scope: Scope) -> JSONResponse | None:
        """The answer to a request that may not pass; None lets it through."""
        headers = Headers(scope=scope)
        hosts, origins = headers.getlist("host"), headers.getlist("origin")
        if len(hosts) != 1 or not self._host_allowed(hosts[0]):
            return _refuse(421, "this host name is not served here: use 127.0.0.1, or start with --allow-host")
        if len(origins) > 1 or (origins and not self._origin_allowed(origins[0], hosts[0])):
            return _refuse(403, "requests from other web sites are refused")
        if not self._guarded or _is_open(scope["path"]):
            return None
        credentials = headers.getlist("authorization")
        if await self._admitted(credentials):
            _note(scope, "given")
            return None
        if self._open_page and _only_looks(scope):
            if credentials:
                self._record(scope, "its token; the page is open")
            _note(scope, "needed")
            return None
        challenge = {"www-authenticate": self._challenge(scope["path"], headers)}
        return _refuse(401, "a token is needed: send Authorization: Bearer <token>", challenge)

    def _challenge(self, path: str, headers: Headers) -> str:
        """Browsers cannot send a bearer token by themselves; basic lets them ask for it, as the password.

        Not for what the page's scripts ask for: the page has a place for the token, and no dialog should get between.
        """
        if self.oauth:
            return f'Bearer realm="bitlm", resource_metadata="{metadata_url(self.oauth)}"'
        asks = "text/html" in headers.get("accept", "") and not path.startswith("/api/")
        return f'{"Basic" if asks else "Bearer"} realm="bitlm"'

    def _record(self, scope: Scope, what: str) -> None:
        """In the audit log; of one client that keeps trying, a line now and then."""
        client = (scope.get("client") or ("unknown",))[0]
        now, (told, silent) = time.monotonic(), self._refused.get(client, (-AUDIT_EVERY_S, 0))
        if now - told < AUDIT_EVERY_S:
            self._refused[client] = told, silent + 1
            return
        more = f", and {silent:,} more before" if silent else ""
        audit.warning("refused %s %r from %s: %s%s", scope["method"], scope["path"][:100], client, what, more)
        if len(self._refused) >= MAX_REFUSED:
            self._refused.clear()
        self._refused[client] = now, 0

    def _host_allowed(self, host: str) -> bool:
        split = split_host(host)
        if split is None:
            return False
        name = split[0]
        return is_loopback(name) or name in self.names or (self.any_address and _is_address(name))

    def _origin_allowed(self, origin: str, host: str) -> bool:
        """Our own pages, and pages served from this machine (such as the MCP Inspector)."""
        scheme, _, netloc = origin.partition("://")
        split = split_host(netloc)
        if scheme not in {"http", "https"} or split is None:
            return False
        return is_loopback(split[0]) or split == split_host(host)

    async def _admitted(self, credentials: list[str]) -> bool:
        secret = _secret(credentials[0]) if len(credentials) == 1 else None
        if secret is None:
            return False
        if self.token is not None and hmac.compare_digest(secret, self.token):
            return True
        return self.access_tokens is not None and await self.access_tokens.valid(secret.decode("latin-1"))


def _is_open(path: str) -> bool:
    """Whether anybody may ask; below the metadata's path, RFC 9728 puts the path of the resource."""
    return path in OPEN_PATHS or path.startswith(f"{RESOURCE_PATH}/")


def _only_looks(scope: Scope) -> bool:
    """Whether a request asks for what an open page shows, and nothing more."""
    path = scope["path"]
    return scope["method"] in {"GET", "HEAD"} and (path in SHOWN_PATHS or path.startswith(SHOWN_BELOW))


def _note(scope: Scope, state: TokenState) -> None:
    scope.setdefault("state", {})["token"] = state


def token_state(request: HTTPConnection) -> TokenState:
    """How the guard found a request to stand with the token."""
    state: TokenState = getattr(request.state, "token", "none")
    return state


def _secret(credentials: str) -> bytes | None:
    """The token in an Authorization header: a bearer token, or the password of basic authentication."""
    scheme, _, value = credentials.partition(" ")
    if scheme.lower() == "bearer":
        return value.strip().encode("latin-1")
    if scheme.lower() == "basic":
        try:
            return base64.b64decode(value.strip(), validate=True).partition(b":")[2]
        except (binascii.Error, ValueError):
            return None
    return None


def _refuse(status: int, reason: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse({"error": reason}, status_code=status, headers=headers)
