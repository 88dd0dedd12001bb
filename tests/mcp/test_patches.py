"""inspect_patches over the protocol: the figures of the core, bounded, and clear refusals."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import numpy as np
import pytest
from mcp import Client
from workspaces import TEXT, Server, server

from bitlm_core import PatchingConfig, inspect_patches
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.compute.patches import HISTOGRAM
from bitlm_mcp.server import build_server


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("state")) as one:
        one.data()
        yield one


@asynccontextmanager
async def client(made: Server) -> AsyncIterator[Client]:
    async with Client(build_server(all_tools(made.workspace))) as found:
        yield found


async def told(asked: Client, **arguments: Any) -> dict[str, Any]:
    answer = await asked.call_tool("inspect_patches", arguments)
    assert not answer.is_error, answer.content
    found = dict(answer.structured_content or {})
    assert found["status"] == "completed"
    return found


@pytest.mark.anyio
async def test_it_tells_what_the_core_finds(made: Server) -> None:
    wanted = inspect_patches(np.frombuffer(TEXT, np.uint8), PatchingConfig(monotonic=True, mean_patch_size=5))
    async with client(made) as asked:
        found = await told(asked, dataset_id="data", monotonic=True, mean_patch_size=5, first=3)
        again = await told(asked, text=TEXT.decode(), monotonic=True, mean_patch_size=5, first=3)
    assert {name: found[name] for name in again if name != "job_id"} == {n: v for n, v in again.items() if n != "job_id"}
    assert found["num_bytes"] == len(TEXT) and found["threshold"] == wanted.theta
    about = wanted.statistics
    for name in ("num_patches", "mean", "spread", "shortest", "longest"):
        assert found[name] == getattr(about, name)
    assert found["histogram"] == list(about.histogram)
    assert [(patch["offset"], len(patch["bits"])) for patch in found["patches"]] == [
        (begin, end - begin) for begin, end in wanted.spans(3)
    ]
    assert "".join(patch["text"] for patch in found["patches"]) == TEXT[: wanted.spans(3)[-1][1]].decode()


@pytest.mark.anyio
async def test_a_default_answer_is_short_at_its_longest(made: Server) -> None:
    """Long patches of bytes that cannot be shown, each of another length."""
    noise = np.random.default_rng(5).integers(128, 256, 400_000, dtype=np.uint8).tobytes()
    async with client(made) as asked:
        data = {"data_base64": base64.b64encode(noise).decode()}
        answer = await asked.call_tool("inspect_patches", data | {"mean_patch_size": 23.5})
        (text,) = [getattr(part, "text", "") for part in answer.content]
        assert not answer.is_error and 900 < len(text.encode()) <= 2048


@pytest.mark.anyio
async def test_long_patches_are_counted_together(made: Server) -> None:
    async with client(made) as asked:
        found = await told(asked, dataset_id="data", scheme="fixed", stride=50, max_patch_size=50)
    assert found["longest"] == 50 and "threshold" not in found
    assert len(found["histogram"]) == HISTOGRAM and found["histogram"][-1] == len(TEXT) // 50


@pytest.mark.anyio
async def test_a_model_cuts_as_it_does(made: Server) -> None:
    """Its own way, which the data itself does not change; what is not fitted, or has no patches, is refused."""
    made.create("p", architecture="patch", local_width=16, mean_patch_size=6.0)
    made.create("b")
    async with client(made) as asked:
        untrained = await asked.call_tool("inspect_patches", {"text": "a", "model_id": "p"})
        assert untrained.is_error and "train it first" in str(untrained.content)
        made.trained("p", steps=1)
        found = await told(asked, dataset_id="data", model_id="p")
        other = await told(asked, text=TEXT.decode().upper(), model_id="p")
        assert found["mean"] == pytest.approx(6, rel=0.1) and found["threshold"] == other["threshold"]
        assert other["mean"] < 2 or other["mean"] > 10  # nothing of this was ever counted
        for arguments, reason in (
            ({"model_id": "p", "adaptive": True, "stride": 3}, "adaptive=True, stride=3: model_id='p' has its own patching"),
            ({"model_id": "b"}, "architecture='byte' cuts no patches"),
            ({"model_id": "none"}, "none"),
        ):
            answer = await asked.call_tool("inspect_patches", {"text": "a", **arguments})
            assert answer.is_error and reason in str(answer.content)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"text": "a", "scheme": "space", "adaptive": True}, "adaptive=true means nothing with scheme='space'"),
        ({"text": "a", "scheme": "fixed"}, "give stride"),
        ({"text": "a", "min_patch_size": 30}, "min_patch_size=30 is above max_patch_size=24"),
        ({"text": "a", "mean_patch_size": 200}, "mean_patch_size=200 is not within"),
        ({}, "give exactly one of dataset_id, text, data_base64"),
        ({"dataset_id": "none"}, "none"),
    ],
)
async def test_refusals_say_what_to_change(made: Server, arguments: dict[str, Any], reason: str) -> None:
    async with client(made) as asked:
        answer = await asked.call_tool("inspect_patches", arguments)
        assert answer.is_error and reason in str(answer.content)
