"""Access tokens: only those that the issuer signed for this server, in their time, with the scopes asked for."""

from __future__ import annotations

import base64
import hmac
import json
import time
from pathlib import Path
from typing import Any

import httpx2
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from bitlm_mcp import oauth
from bitlm_mcp.app import build_app
from bitlm_mcp.oauth import AccessTokens
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import OAuthSettings, ServerSettings

ISSUER = "https://login.example"
RESOURCE = "https://bits.example/mcp"
SETTINGS = OAuthSettings(issuer=ISSUER, resource=RESOURCE, scopes=("bits:use",))


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


class Issuer:
    """An authorization server without a network: its keys, and how often it was asked."""

    def __init__(self) -> None:
        self.key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self.keys = {"one": self.key.public_key()}
        self.asked: list[str] = []
        self.metadata: dict[str, Any] = {"issuer": ISSUER, "jwks_uri": f"{ISSUER}/keys"}
        self.status = 200

    def answer(self, request: httpx2.Request) -> httpx2.Response:
        self.asked.append(request.url.path)
        if self.status != 200:
            return httpx2.Response(self.status)
        if request.url.path == "/.well-known/oauth-authorization-server":
            return httpx2.Response(404)
        if request.url.path == "/.well-known/openid-configuration":
            return httpx2.Response(200, json=self.metadata)
        keys = [json.loads(jwt.algorithms.RSAAlgorithm.to_jwk(key)) | {"kid": name} for name, key in self.keys.items()]
        return httpx2.Response(200, json={"keys": keys})

    def tokens(self, settings: OAuthSettings = SETTINGS) -> AccessTokens:
        return AccessTokens(settings, httpx2.MockTransport(self.answer))

    def token(self, *, key: Any = None, algorithm: str = "RS256", kid: str = "one", **changes: Any) -> str:
        claims = {"iss": ISSUER, "aud": RESOURCE, "exp": time.time() + 60, "scope": "other bits:use"} | changes
        claims = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(claims, key or self.key, algorithm=algorithm, headers={"kid": kid})


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@pytest.mark.anyio
async def test_a_token_of_the_issuer_for_this_server_is_accepted(issuer: Issuer) -> None:
    tokens = issuer.tokens()
    for changes in ({}, {"aud": ["x", RESOURCE]}, {"scope": None, "scp": ["bits:use"]}):
        assert await tokens.valid(issuer.token(**changes))
    assert issuer.asked.count("/keys") == 1


@pytest.mark.anyio
@pytest.mark.parametrize(
    "changes",
    [
        {"iss": "https://evil.example"},
        {"aud": "https://other.example"},
        {"aud": None},
        {"exp": 1000},
        {"exp": None},
        {"nbf": 32_503_680_000},  # the year 3000
        {"scope": "bits:usex"},
        {"scope": None},
        {"scope": {"bits:use": 1}},
    ],
    ids=repr,
)
async def test_any_other_is_refused(issuer: Issuer, changes: dict[str, Any], caplog: pytest.LogCaptureFixture) -> None:
    token = issuer.token(**changes)
    assert not await issuer.tokens().valid(token)
    assert "refused" in caplog.text and token not in caplog.text


@pytest.mark.anyio
async def test_forged_tokens_are_refused(issuer: Issuer) -> None:
    other = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    curve = ec.generate_private_key(ec.SECP256R1())
    header, body, _ = issuer.token().split(".")
    none = base64.urlsafe_b64encode(b'{"alg":"none","kid":"one"}').rstrip(b"=").decode()
    # The classic: the published key taken for a shared secret.
    secret = issuer.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    symmetric = base64.urlsafe_b64encode(b'{"alg":"HS256","kid":"one"}').rstrip(b"=").decode()
    signature = hmac.new(secret, f"{symmetric}.{body}".encode(), "sha256").digest()
    for forged in (
        f"{symmetric}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}",
        issuer.token(key=other),
        issuer.token(key=curve, algorithm="ES256"),
        f"{none}.{body}.",
        f"{header}.{body}.",
        "",
        "a.b.c",
        "x" * 10_000,
    ):
        assert not await issuer.tokens().valid(forged)


@pytest.mark.anyio
async def test_new_keys_are_fetched_but_not_for_every_token(issuer: Issuer, monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = issuer.tokens()
    assert await tokens.valid(issuer.token())
    second = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    issuer.keys["two"] = second.public_key()
    rotated = issuer.token(key=second, kid="two")
    for _ in range(3):
        assert not await tokens.valid(rotated)
    assert issuer.asked.count("/keys") == 1
    now = time.monotonic()
    monkeypatch.setattr(oauth.time, "monotonic", lambda: now + oauth.REFETCH_S)
    assert await tokens.valid(rotated) and await tokens.valid(issuer.token())
    assert issuer.asked.count("/keys") == 2


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("metadata", "status"),
    [
        ({}, 503),
        ({"issuer": "https://evil.example", "jwks_uri": f"{ISSUER}/keys"}, 200),
        ({"issuer": ISSUER}, 200),
        ({"issuer": ISSUER, "jwks_uri": 5}, 200),
    ],
)
async def test_an_issuer_that_does_not_answer_right_lets_nobody_in(
    issuer: Issuer, metadata: dict[str, Any], status: int
) -> None:
    issuer.metadata, issuer.status = metadata, status
    tokens = issuer.tokens()
    assert not await tokens.valid(issuer.token())
    asked = len(issuer.asked)
    assert not await tokens.valid(issuer.token()) and len(issuer.asked) == asked


@pytest.mark.anyio
async def test_every_route_asks_for_it_and_says_whose(issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ServerSettings(state_dir=tmp_path, oauth=SETTINGS, host="::", allow_hosts=("bits.example",))
    monkeypatch.setattr("bitlm_mcp.security.AccessTokens", lambda given: issuer.tokens(given))
    app = build_app(build_server(()), settings)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://bits.example") as client:
        for route in ("/", "/mcp", "/sse", "/metrics"):
            refused = await client.get(route, headers={"accept": "text/html"})
            assert refused.status_code == 401
            assert f'resource_metadata="https://bits.example{oauth.RESOURCE_PATH}"' in refused.headers["www-authenticate"]
            passed = await client.get(route, headers={"authorization": f"Bearer {issuer.token()}x"})
            assert passed.status_code == 401
        assert (await client.get("/nothing", headers={"authorization": f"Bearer {issuer.token()}"})).status_code == 404
        for path in (oauth.RESOURCE_PATH, f"{oauth.RESOURCE_PATH}/mcp"):
            metadata = (await client.get(path)).json()
            assert metadata["resource"] == RESOURCE and metadata["authorization_servers"] == [ISSUER]
            assert metadata["scopes_supported"] == ["bits:use"]


@pytest.mark.parametrize(
    "url", ["http://login.example", "login.example", "https://", "https://a/?x=1", "https://a/#x", "ftp://a"]
)
def test_issuers_are_https(url: str) -> None:
    with pytest.raises(ValueError, match="no https URL"):
        OAuthSettings(issuer=url, resource=RESOURCE)
    assert OAuthSettings(issuer="http://127.0.0.1:9000", resource="http://localhost:8765/mcp")
