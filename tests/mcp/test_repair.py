"""repair over the protocol: proposals for each kind of damage, the restored data on demand, and clear refusals."""

from __future__ import annotations

import base64
import json
from typing import Any

import numpy as np
import pytest
from mcp import Client

from bitlm_core import bytes_to_bits
from bitlm_mcp.operations.data import add_dataset
from tests.mcp.stages import client
from tests.mcp.workspaces import Server

LINES = b"".join(b"%d bottles of beer on the wall, take one down and pass it around\n" % (7 * i % 100) for i in range(40))
PLACES = [*range(700, 2300, 80)]


def damaged() -> bytes:
    data = bytearray(LINES)
    for place in PLACES:
        data[place] = 35
    return bytes(data)


async def told(asked: Client, **arguments: Any) -> dict[str, Any]:
    answer = await asked.call_tool("repair", arguments)
    assert not answer.is_error, answer.content
    found = dict(answer.structured_content or {})
    assert found["status"] == "completed"
    return found


@pytest.mark.anyio
async def test_told_places_by_the_data_alone(made: Server) -> None:
    async with client(made) as asked:
        places = [f"{place}:1" for place in PLACES]
        found = await told(asked, text=damaged().decode(), places=places, save_as="restored")
        assert found["num_places"] == found["num_proposals"] == 20 and len(found["proposals"]) == 16
        assert [row["offset"] for row in found["proposals"]] == PLACES[:16]
        assert all(row["was"] == 35 and 0 < row["confidence"] <= 1 for row in found["proposals"])
        assert found["dataset_id"] == "restored" and found["next"] == f"read_output(job_id={found['job_id']!r})"
        output = (made.workspace.job_files.output(found["job_id"])).read_text().splitlines()
        assert [json.loads(line)["offset"] for line in output] == PLACES
        assert not made.workspace.job_files.output(found["job_id"]).with_name("restored").exists()
        again = made.workspace.datasets.part("restored", holdout=None).open().array
        assert (again == np.frombuffer(LINES, np.uint8)).mean() > 0.998
        refusal = await asked.call_tool("repair", {"text": "abc", "places": ["0:1"], "save_as": "restored"})
        assert refusal.is_error and "exists already" in str(refusal.content)


@pytest.mark.anyio
async def test_parity_and_suspicion(made: Server) -> None:
    async with client(made) as asked:
        bits = bytes_to_bits(LINES)
        bits[9 * 1504 + 3] ^= 1
        packed = base64.b64encode(np.packbits(bits).tobytes()).decode()
        found = await told(asked, data_base64=packed, parity=True)
        assert [(row["offset"], row["proposed"]) for row in found["proposals"]] == [(1504, LINES[1504])]
        found = await told(asked, model_id="m", text=damaged().decode(), surprising=40, margin_bits=8)
        offsets = {row["offset"] for row in found["proposals"]}
        assert found["num_places"] == 40 and offsets and offsets <= set(PLACES)


@pytest.mark.anyio
async def test_documents_are_restored_apart_and_stay_apart(made: Server) -> None:
    cut = LINES.index(b"\n", 1200) + 1
    documents = [[damaged()[:cut]], [damaged()[cut:]]]
    add_dataset(made.workspace, "two", documents, source="files", holdout_fraction=0.0, overwrite=False)
    async with client(made) as asked:
        places = [f"{place}:1" for place in PLACES]
        found = await told(asked, dataset_id="two", places=places, save_as="two-restored")
        assert found["num_places"] == 20 and made.workspace.snapshot.datasets["two-restored"].num_documents == 2
        part = made.workspace.datasets.part("two-restored", holdout=None)
        assert part.document_starts == (cut,) and (part.open().array == np.frombuffer(LINES, np.uint8)).mean() > 0.998
        refusal = await asked.call_tool("repair", {"dataset_id": "two", "parity": True})
        assert refusal.is_error and "this data has 2 documents" in str(refusal.content)


@pytest.mark.anyio
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "abc"}, "exactly one of places, parity, surprising"),
        ({"text": "abc", "places": ["0:1"], "parity": True}, "exactly one of places, parity, surprising"),
        ({"places": ["0:1"]}, "exactly one of dataset_id, text, data_base64"),
        ({"text": "abc", "places": ["2:2"]}, "no range [offset, length] within the 3 bytes"),
        ({"text": "abc", "places": []}, "0 ranges"),
        ({"text": "abc", "places": ["7"]}, "'7' is no range: write OFFSET:LENGTH"),
        ({"text": "abc", "places": ["0:1"], "model_id": "absent"}, "absent"),
    ],
)
async def test_what_cannot_be_done_is_said(made: Server, arguments: dict[str, Any], message: str) -> None:
    async with client(made) as asked:
        answer = await asked.call_tool("repair", arguments)
        assert answer.is_error and message in str(getattr(answer.content[0], "text", ""))
