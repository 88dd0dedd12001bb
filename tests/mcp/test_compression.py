"""compress and decompress over the protocol: what comes back is what went in, from every source, and refusals are clear."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from bitlm_mcp.assembly import all_tools
from tests.mcp.stages import client
from tests.mcp.workspaces import TEXT, Server, server

SHORT = "the quick brown fox, and the slow one; the quick brown fox, and the slow one."


async def told(asked: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await asked.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    found = dict(answer.structured_content or {})
    while found.get("status") in ("queued", "running"):
        await asked.call_tool("wait_job", {"job_id": found["job_id"]})
        found = dict((await asked.call_tool("wait_job", {"job_id": found["job_id"]})).structured_content or {})
    return found


async def refused(asked: Client, tool: str, **arguments: Any) -> str:
    answer = await asked.call_tool(tool, arguments)
    assert answer.is_error
    return str(getattr(answer.content[0], "text", ""))


@pytest.mark.anyio
async def test_small_data_goes_there_and_back_in_the_answers(made: Server) -> None:
    async with client(made) as asked:
        found = await told(asked, "compress", text=SHORT)
        assert found["mode"] == "self-contained" and found["num_bytes"] == len(SHORT)
        assert found["bits_per_byte"] == pytest.approx(8 * found["compressed_bytes"] / len(SHORT))
        assert len(base64.b64decode(found["data_base64"])) == found["compressed_bytes"] < len(SHORT)
        assert found["next"] == f"decompress(job_id={found['job_id']!r})"
        assert (await told(asked, "decompress", data_base64=found["data_base64"]))["text"] == SHORT
        assert (await told(asked, "decompress", job_id=found["job_id"]))["text"] == SHORT


@pytest.mark.anyio
async def test_a_dataset_and_back_into_a_dataset(made: Server) -> None:
    async with client(made) as asked:
        found = await told(asked, "compress", dataset_id="data")
        assert found["num_bytes"] == len(TEXT)
        back = await told(asked, "decompress", job_id=found["job_id"], save_as="again")
        assert back["num_bytes"] == len(TEXT) and back["dataset_id"] == "again"
        assert back["text"] == TEXT[:512].decode() and back["next"] == f"read_output(job_id={back['job_id']!r})"
        assert made.workspace.datasets.part("again", holdout=None).open().array.tobytes() == TEXT
        assert "exists already" in await refused(asked, "decompress", job_id=found["job_id"], save_as="again")
        kept = {"num_bytes": 1800, "text": back["text"], "dataset_id": "again", "ratio": found["compressed_bytes"] / 1800}
        assert (made.workspace.job(back["job_id"]).result or {}) == kept | {"seconds": back["seconds"]}


@pytest.mark.anyio
async def test_with_a_model_and_only_with_that(made: Server) -> None:
    async with client(made) as asked:
        found = await told(asked, "compress", text=SHORT, model_id="m")
        assert found["mode"] == "model" and found["next"].startswith("save_checkpoint(model_id='m'")
        read = await told(asked, "read_output", job_id=found["job_id"])
        assert read["total_bytes"] == found["compressed_bytes"]
        assert (await told(asked, "decompress", job_id=found["job_id"], model_id="m"))["text"] == SHORT
        made.create("other", mixing=True, seed=1)
        assert "another model" in await refused(asked, "decompress", job_id=found["job_id"], model_id="other")
        assert "give the checkpoint" in await refused(asked, "decompress", job_id=found["job_id"])


@pytest.mark.anyio
async def test_one_record(made: Server) -> None:
    lines = "the quick brown fox\njumps over the lazy dog\nthe quick brown dog\n"
    async with client(made) as asked:
        found = await told(asked, "compress", text=lines, model_id="m", records="lines")
        for record in (0, 2):
            got = await told(asked, "decompress", job_id=found["job_id"], model_id="m", record=record)
            assert got["text"] == lines.splitlines(keepends=True)[record]
        assert "no record 3" in await refused(asked, "decompress", job_id=found["job_id"], model_id="m", record=3)
        assert "model_id" in await refused(asked, "compress", text=lines, records="lines")


@pytest.mark.anyio
async def test_bytes_that_are_no_text_and_what_is_no_container(made: Server) -> None:
    data = base64.b64encode(bytes(range(256)) * 4).decode()
    async with client(made) as asked:
        found = await told(asked, "compress", data_base64=data)
        back = await told(asked, "decompress", job_id=found["job_id"])
        assert base64.b64decode(back["data_base64"]) == (bytes(range(256)) * 2) and "text" not in back
        assert "not made by" in await refused(asked, "decompress", data_base64=data)
        assert "exactly one" in await refused(asked, "decompress")
        assert "exactly one" in await refused(asked, "compress", text="x", dataset_id="data")
        for job_id in ("job-unknown", "../jobs", found["job_id"] + "/../x"):
            assert "output of job" in await refused(asked, "decompress", job_id=job_id)


def test_the_toolset_is_offered_on_its_own(tmp_path: Path) -> None:
    with server(tmp_path) as one:
        names = {spec.tool_name for spec in all_tools(one.workspace) if spec.toolset == "compression"}
    assert names == {"compress", "decompress"}
