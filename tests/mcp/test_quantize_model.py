"""quantize_model over the protocol: another model or the same one in place, found again after a restart, and cancelled."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from workspaces import Server, server, wait_until

from bitlm_mcp.assembly import all_tools
from bitlm_mcp.operations.quantization import quantize_model
from bitlm_mcp.operations.reading import cancel
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


async def told(asked: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await asked.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return dict(answer.structured_content or {})


def state_of(made: Server, model_id: str) -> tuple[str, tuple[bytes, int]]:
    model = made.workspace.models.get(model_id)
    return model.sha256, made.infer(model_id)


@pytest.mark.anyio
async def test_another_model_is_made(made: Server) -> None:
    made.create("m", ngram_rows=512)
    made.trained("m", steps=4)
    before = state_of(made, "m")
    async with client(made) as asked:
        found = await told(asked, "quantize_model", model_id="m", mode="int4", qat_steps=2, dataset_id="data", to="small")
        assert found["status"] == "completed" and found["model_id"] == "small" and found["step"] == 6
        assert found["network_bytes"] < 0.18 * found["network_bytes_before"] and "checkpoint_before" not in found
        models = (await told(asked, "list_models", limit=100))["models"]  # other tests may have made some here before
        listed = {model["model_id"]: model.get("quantized") for model in models}
        assert (listed["m"], listed["small"]) == (None, "int4")
        telemetry = await told(asked, "get_telemetry", model_id="small")
        assert telemetry["quantized"] == "int4" and telemetry["history"]["step"] == [1, 2, 3, 4]
        assert "quantized" not in await told(asked, "get_telemetry", model_id="m")
        assert (await told(asked, "score", model_id="small", dataset_id="data"))["status"] == "completed"
        assert state_of(made, "m") == before
        refused = await asked.call_tool("train_step", {"model_id": "small", "dataset_id": "data", "steps": 1})
        assert refused.is_error and "quantize_model(mode='float32')" in str(refused.content)
        again = await told(asked, "quantize_model", model_id="small", mode="float32", to="wide")
        assert again["network_bytes"] == found["network_bytes_before"]
        made.trained("wide", steps=1)


@pytest.mark.anyio
async def test_in_place_the_state_before_is_kept(tmp_path: Path) -> None:
    with server(tmp_path) as first:
        first.create("m", mixing=True)
        before = first.infer("m")
        async with client(first) as asked:
            found = await told(asked, "quantize_model", model_id="m")
            assert found["checkpoint_before"] == "m.before-int8"
            again = await told(asked, "quantize_model", model_id="m", to="m")
            assert again["checkpoint_before"] == "m.before-int8-2" and again["network_bytes"] == found["network_bytes"]
            answers = first.infer("m")
            await told(asked, "load_checkpoint", name="m.before-int8", model_id="old")
            assert first.infer("old") == before
    with server(tmp_path) as second:
        assert second.workspace.model("m").quantized == "int8" and second.infer("m") == answers
        assert second.workspace.model("old").quantized is None


def test_cancelled_half_way_everything_is_as_it_was(made: Server) -> None:
    made.create("c", overwrite=True)
    before, checkpoints = state_of(made, "c"), made.workspace.checkpoints.names()
    for to in (None, "never"):
        asked: dict[str, Any] = {"qat_steps": 100_000, "dataset_id": "data", "to": to, "overwrite": False}
        job = quantize_model(made.workspace, "c", "int4", **asked)
        wait_until(lambda job=job: job.progress.share > 0, "a step is made")
        cancel(made.workspace, job.job_id)
        assert made.over(job).status == "cancelled"
        assert state_of(made, "c") == before and made.workspace.models.get("c").facts.config.model.quantized is None
        assert made.workspace.models.find("never") is None and made.workspace.checkpoints.names() == checkpoints
    made.trained("c", steps=1)  # its lease was given back


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"mode": "int4", "qat_steps": 5}, "qat_steps=5 without data"),
        ({"dataset_id": "data"}, "data without qat_steps"),
        ({"mode": "float32"}, "model 'r' is float32 already"),
        ({"mode": "float32", "qat_steps": 5}, "mode='float32' rounds nothing"),
        ({"to": "taken"}, "model 'taken' exists already"),
        ({"model_id": "none"}, "none"),
        ({"mode": "int2"}, "int2"),
    ],
)
async def test_refusals_say_what_to_change(made: Server, arguments: dict[str, Any], reason: str) -> None:
    for model_id in ("r", "taken"):
        if made.workspace.models.find(model_id) is None:
            made.create(model_id)
    async with client(made) as asked:
        answer = await asked.call_tool("quantize_model", {"model_id": "r", **arguments})
        assert answer.is_error and reason in str(answer.content)
