"""show_surprise over the protocol: what the core finds, in sixteenths of a bit, and where it was looked."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import numpy as np
import pytest
from mcp import Client

from bitlm_core import cells_of, inspect_model_patches
from bitlm_core.steps import finished
from bitlm_mcp.operations.data import add_dataset
from bitlm_mcp.snapshot import MAX_LISTED, Snapshot
from tests.mcp.stages import client
from tests.mcp.workspaces import TEXT, Server, server

NOISE = np.random.default_rng(3).integers(0, 256, 3000, np.uint8).tobytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A dataset with a held-out part, one without, and a model with context mixing that knows the first."""
    with server(tmp_path_factory.mktemp("state")) as one:
        one.data()
        add_dataset(one.workspace, "whole", [[TEXT], [NOISE]], source="text", holdout_fraction=0.0, overwrite=False)
        one.create(mixing=True)
        one.trained(steps=3)
        yield one


@pytest.fixture
async def asked(made: Server) -> AsyncIterator[Client]:
    async with client(made) as found:
        yield found


async def told(asked: Client, **arguments: Any) -> dict[str, Any]:
    answer = await asked.call_tool("show_surprise", {"model_id": "m"} | arguments)
    assert not answer.is_error, answer.content
    found = dict(answer.structured_content or {})
    assert found["status"] == "completed" and found["model_id"] == "m" and "next" not in found
    return found


def engine(made: Server, model_id: str = "m") -> Any:
    return made.workspace.runner.compute._executor.engines._entries[model_id].engine  # type: ignore[attr-defined]


def levels_of(encoded: str) -> list[int]:
    return list(base64.b64decode(encoded))


def in_sixteenths(bits: Any) -> list[int]:
    return [min(255, round(16 * float(each))) for each in bits]


@pytest.mark.anyio
async def test_it_tells_what_a_score_of_the_same_bytes_finds(made: Server, asked: Client) -> None:
    data, documents = np.frombuffer(TEXT + NOISE, np.uint8), np.array([[0, len(TEXT)], [len(TEXT), len(TEXT + NOISE)]])
    score = finished(engine(made).score_steps(data, documents, adaptive=False))
    found = await told(asked, dataset_id="whole", shown_at=1700, shown=300, cells=100)
    assert found["source"] == "dataset whole, all of it" and found["offset"] == 0
    assert found["num_bytes"] == found["total_bytes"] == len(data) and found["cell_bytes"] == 48
    assert found["bits_per_byte"] == pytest.approx(score.likelihood.bits_per_byte_static, rel=1e-5)
    assert found["bits_per_byte"] == float(score.surprise.mean(dtype=np.float64))
    assert base64.b64decode(found["data_base64"]) == (TEXT + NOISE)[1700:2000] and found["shown_at"] == 1700
    assert levels_of(found["surprise_base64"]) == in_sixteenths(score.surprise[1700:2000])
    cells = cells_of(score.surprise, 100)
    assert levels_of(found["peaks_base64"]) == in_sixteenths(cells.peak)
    assert levels_of(found["means_base64"]) == in_sixteenths(cells.mean)
    assert len(cells.mean) * 48 >= len(data) > (len(cells.mean) - 1) * 48 and "patches" not in found
    told_by_score = await asked.call_tool("score", {"model_id": "m", "dataset_id": "data"})
    held = await told(asked, dataset_id="data")
    assert held["bits_per_byte"] == pytest.approx((told_by_score.structured_content or {})["bits_per_byte_static"], rel=1e-5)


@pytest.mark.anyio
async def test_a_closer_look_shows_the_same_numbers(made: Server, asked: Client) -> None:
    far = await told(asked, dataset_id="whole", shown=8192)
    near = await told(asked, dataset_id="whole", offset=2500, num_bytes=400, cells=4096)
    assert (near["offset"], near["num_bytes"], near["shown_at"], near["cell_bytes"]) == (2500, 400, 2500, 1)
    assert near["total_bytes"] == far["num_bytes"] == len(TEXT + NOISE)
    wanted = levels_of(far["surprise_base64"])[2500:2900]
    assert levels_of(near["peaks_base64"]) == levels_of(near["means_base64"]) == wanted
    assert levels_of(near["surprise_base64"]) == wanted[:256]
    end = await told(asked, dataset_id="whole", offset=len(TEXT + NOISE) - 5, num_bytes=1 << 20)
    assert end["num_bytes"] == 5 and base64.b64decode(end["data_base64"]) == NOISE[-5:]


@pytest.mark.anyio
async def test_what_is_held_out_is_looked_at_and_what_is_sent(made: Server, asked: Client) -> None:
    held = await told(asked, dataset_id="data")
    assert held["source"] == "dataset data, held out" and held["total_bytes"] == len(TEXT) // 10
    text = await told(asked, text=TEXT[-len(TEXT) // 10 :].decode())
    assert text["source"] == "sent with the call" and text["surprise_base64"] == held["surprise_base64"]
    waited = (await asked.call_tool("wait_job", {"job_id": text["job_id"]})).structured_content or {}
    assert waited["kind"] == "show_surprise" and waited["result"]["peaks_base64"] == text["peaks_base64"]
    assert not list((made.workspace.settings.state_dir / "jobs").glob(f"*{text['job_id']}*"))


@pytest.mark.anyio
async def test_patches_are_told_among_the_bytes_shown(made: Server, asked: Client) -> None:
    made.create("p", architecture="patch", local_width=16, mean_patch_size=3.0)
    made.trained("p", steps=1)
    answer = await asked.call_tool("show_surprise", {"model_id": "p", "dataset_id": "whole", "shown_at": 1000, "shown": 500})
    found = answer.structured_content or {}
    wanted = inspect_model_patches(engine(made, "p").model, np.frombuffer(TEXT, np.uint8)).starts[1000:1500]
    assert found["patches"] == np.flatnonzero(wanted).tolist() and len(found["patches"]) > 100
    answer = await asked.call_tool("show_surprise", {"model_id": "p", "dataset_id": "whole"})
    (text,) = [getattr(part, "text", "") for part in answer.content]
    assert not answer.is_error and 1500 < len(text.encode()) <= 2048


@pytest.mark.anyio
async def test_lists_of_jobs_leave_out_what_is_long(made: Server, asked: Client) -> None:
    found = await told(asked, dataset_id="whole", cells=4096, shown=8192)
    job = made.workspace.job(found["job_id"])
    (listed,) = Snapshot(jobs={job.job_id: job}).summary()["jobs"]
    assert len(found["data_base64"]) > MAX_LISTED and listed["result"].keys() == {
        *("model_id", "source", "offset", "num_bytes", "total_bytes", "bits_per_byte", "cell_bytes", "shown_at")
    }
    assert job.result is not None and job.result["data_base64"] == found["data_base64"]
