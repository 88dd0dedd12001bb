"""Resources speak the protocol's errors too: not found, refused on purpose, and crashes that say nothing."""

from __future__ import annotations

import logging

import pytest
from mcp import Client
from mcp.server import MCPServer
from mcp.shared.exceptions import MCPError

from bitlm_core.errors import ModelStateError
from bitlm_mcp.errors import UnknownHandleError, resource_errors
from bitlm_mcp.server import build_server


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


def register(server: MCPServer) -> None:
    @server.resource("bitlm://models/{model_id}", mime_type="application/json")
    async def model(model_id: str) -> str:
        with resource_errors():
            if model_id == "busy":
                raise ModelStateError("the model is being trained: call wait_job")
            if model_id == "crash":
                raise KeyError("secret detail")
            if model_id != "m1":
                raise UnknownHandleError("model", model_id, ["m1"], "call list_models")
        return "{}"


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("model_id", "code", "text"),
    [
        ("m2", -32602, "no model 'm2'; known: m1: call list_models"),
        ("busy", -32603, "the model is being trained: call wait_job"),
        ("crash", -32603, "bitlm://models/crash"),
    ],
)
async def test_resources(model_id: str, code: int, text: str, caplog: pytest.LogCaptureFixture) -> None:
    async with Client(build_server((), register=[register])) as client:
        assert (await client.read_resource("bitlm://models/m1")).contents
        with caplog.at_level(logging.ERROR), pytest.raises(MCPError) as caught:
            await client.read_resource(f"bitlm://models/{model_id}")
    assert caught.value.error.code == code
    assert text in caught.value.error.message
    assert "secret" not in caught.value.error.message
    assert ("secret detail" in caplog.text) == (model_id == "crash")


def test_many_known_handles_are_cut_short() -> None:
    error = UnknownHandleError("job", "x" * 500, [f"job{number}" for number in range(25)])
    assert len(str(error)) < 250
    assert str(error).endswith("job9 and 15 more")
    assert error.known == tuple(f"job{number}" for number in range(25))
