"""bitlm as an OAuth 2.0 resource server: access tokens of one issuer, checked by its published keys (RFC 9068, RFC 9728).

In: a bearer token. Out: whether it is a JWT that the issuer signed for this resource, in its time, with every scope that is
asked for. Keys come from the issuer's metadata (RFC 8414) and are kept; an unknown key id asks again, at most once a minute.
Not here: opaque tokens, introspection, and anything of an authorization server.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from typing import Any

import anyio
import httpx2
import jwt

from bitlm_mcp.settings import OAuthSettings, is_safe_url

audit = logging.getLogger("bitlm.audit")

METADATA_PATHS = ("/.well-known/oauth-authorization-server", "/.well-known/openid-configuration")
RESOURCE_PATH = "/.well-known/oauth-protected-resource"
# Signatures of a key pair alone: with a shared secret, the published key itself would sign.
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA")
REFETCH_S = 60.0
TIMEOUT_S = 10.0
LEEWAY_S = 30.0
MAX_BYTES = 1 << 20


class IssuerError(Exception):
    """The issuer does not answer as it must."""


@dataclass
class _Keys:
    by_id: dict[str, jwt.PyJWK]
    at: float


class AccessTokens:
    """Checks tokens of one issuer."""

    def __init__(self, settings: OAuthSettings, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        """`transport` stands in for the network."""
        self._settings = settings
        self._transport = transport
        self._keys = _Keys({}, -REFETCH_S)
        self._fetching = anyio.Lock()

    async def valid(self, token: str) -> bool:
        """Whether a token gives access; why not is logged, without the token."""
        try:
            claims = await self._claims(token)
        except (jwt.PyJWTError, IssuerError) as error:
            audit.warning("an access token was refused: %s", error)
            return False
        missing = set(self._settings.scopes) - _scopes(claims)
        if missing:
            audit.warning("an access token was refused: it lacks the scopes %s", ", ".join(sorted(missing)))
        return not missing

    async def _claims(self, token: str) -> dict[str, Any]:
        header = jwt.get_unverified_header(token)
        key = await self._key(str(header.get("kid", "")))
        return jwt.decode(
            token,
            key,
            algorithms=list(ALGORITHMS),
            issuer=self._settings.issuer,
            audience=self._settings.resource,
            leeway=LEEWAY_S,
            options={"require": ["exp", "iss", "aud"]},
        )

    async def _key(self, key_id: str) -> jwt.PyJWK:
        async with self._fetching:
            if key_id not in self._keys.by_id and time.monotonic() - self._keys.at >= REFETCH_S:
                self._keys = _Keys(self._keys.by_id, time.monotonic())  # an issuer that is down is not asked for every token
                self._keys.by_id = await self._fetch()
        if key_id not in self._keys.by_id:
            raise IssuerError(f"the issuer has no key {key_id[:40]!r}")
        return self._keys.by_id[key_id]

    async def _fetch(self) -> dict[str, jwt.PyJWK]:
        async with httpx2.AsyncClient(transport=self._transport, timeout=TIMEOUT_S, follow_redirects=False) as client:
            metadata = await self._metadata(client)
            if metadata.get("issuer") != self._settings.issuer:
                raise IssuerError("the issuer's metadata name another issuer")
            address = metadata.get("jwks_uri")
            if not isinstance(address, str) or not is_safe_url(address):
                raise IssuerError("the issuer's metadata name no https address of its keys")
            keys = await _json(client, address)
        try:
            return {str(key.key_id or ""): key for key in jwt.PyJWKSet.from_dict(keys).keys}
        except jwt.PyJWTError as error:
            raise IssuerError(f"the issuer's keys cannot be read ({error})") from error

    async def _metadata(self, client: httpx2.AsyncClient) -> dict[str, Any]:
        for path in METADATA_PATHS:
            try:
                return await _json(client, self._settings.issuer.rstrip("/") + path)
            except IssuerError as error:
                last = error
        raise last


def resource_metadata(settings: OAuthSettings) -> dict[str, Any]:
    """What RFC 9728 has a resource say of itself."""
    return {
        "resource": settings.resource,
        "authorization_servers": [settings.issuer],
        "scopes_supported": list(settings.scopes),
        "bearer_methods_supported": ["header"],
        "resource_name": "bitlm",
    }


def metadata_url(settings: OAuthSettings) -> str:
    """Where the metadata of the resource are, for whoever is sent away."""
    scheme, _, rest = settings.resource.partition("://")
    return f"{scheme}://{rest.split('/', 1)[0]}{RESOURCE_PATH}"


async def _json(client: httpx2.AsyncClient, url: str) -> dict[str, Any]:
    try:
        response = await client.get(url, headers={"accept": "application/json"})
        if response.status_code != 200 or len(response.content) > MAX_BYTES:
            raise IssuerError(f"{url} answers with {response.status_code}")
        found = response.json()
    except (httpx2.HTTPError, httpx2.InvalidURL, ValueError) as error:
        raise IssuerError(f"{url} cannot be read ({type(error).__name__})") from error
    if not isinstance(found, dict):
        raise IssuerError(f"{url} is no JSON object")
    return found


def _scopes(claims: dict[str, Any]) -> set[str]:
    """`scope` is a text of RFC 9068; some issuers send a list, or call it `scp`."""
    given = claims.get("scope", claims.get("scp", ""))
    return set(given.split() if isinstance(given, str) else map(str, given if isinstance(given, list) else ()))
