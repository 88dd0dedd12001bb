"""A template that is being filled: what the job shows meanwhile, and what a traced answer tells of it."""

from __future__ import annotations

import base64
from collections.abc import Iterator
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest

from bitlm_core import DiffusionSampling, Template
from bitlm_mcp.compute.events import PREVIEWED_BYTES, Ended, Preview, Progress
from bitlm_mcp.compute.isolated import Told
from bitlm_mcp.jobs import Job
from bitlm_mcp.operations.reading import diffusion_sample
from tests.mcp.stages import client
from tests.mcp.workspaces import Server, server

HIDDEN = b"The ______ of a__" + b" and so on" * 500 + b"____"
TEMPLATE = Template.marked(HIDDEN)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with server(tmp_path_factory.mktemp("state")) as one:
        one.create("m", architecture="bit", max_seq_len=32 * 9)
        yield one


def test_what_is_shown_agrees_with_what_is_told_of_it(made: Server) -> None:
    how: dict[str, Any] = {"sampling": DiffusionSampling(steps=5, seed=2, remask=0.4), "traced": True}
    job = diffusion_sample(made.workspace, "m", TEMPLATE, **how)
    made.completed(job)
    executor = made.workspace.runner.compute._executor  # type: ignore[attr-defined]
    steps, shown = executor.execute(job.command), list[Preview]()
    while True:
        try:
            shown.append(next(steps).preview)
        except StopIteration as stop:
            again = stop.value
            break
    answer: Any = job.answer
    assert again.data == answer.data and (again.revealed, again.parity_places) == (answer.revealed, answer.parity_places)
    revealed = np.frombuffer(answer.revealed, "<u2")
    assert len(revealed) == len(HIDDEN) and len(shown) == answer.steps == revealed.max() and answer.windows == 2
    assert (revealed == 0).tolist() == [known == 255 for known in TEMPLATE.known]
    for done, preview in enumerate(shown, 1):
        assert len(preview.data) == len(preview.known) == PREVIEWED_BYTES
        for place in range(PREVIEWED_BYTES):
            if revealed[place] <= done:
                assert preview.known[place] == 255 and preview.data[place] == answer.data[place]
        before = [place for place in range(PREVIEWED_BYTES) if revealed[place] == done + 1]
        assert all(preview.known[place] != 255 or preview.data[place] != answer.data[place] for place in before)
    assert len(answer.parity_places) == answer.parity_corrections > 0
    assert all(TEMPLATE.known[place] == 0 for place in answer.parity_places)


def test_a_job_shows_it_while_it_runs_and_nothing_keeps_it(made: Server) -> None:
    seen, published = list[Any](), made.workspace.runner._published

    def see(job: Job) -> None:
        published(job)
        seen.append(made.workspace.snapshot.jobs[job.job_id].preview)

    with patch.object(made.workspace.runner, "_published", see):
        job = diffusion_sample(made.workspace, "m", Template.marked(b"a_bc"), DiffusionSampling(steps=1))
        made.completed(job)
    assert seen[0] is None and seen[-1] is None  # queued, and over; of the passes between the first is always told
    data = base64.b64encode(job.answer.data).decode()  # type: ignore[union-attr]
    assert seen[1] == {"data_base64": data, "known_base64": "/////w=="}
    job.status = "running"
    job.advance(Progress(share=0.5, preview=Preview(data=b"a\0", known=b"\xff\0")))
    assert job.view().preview == {"data_base64": "YQA=", "known_base64": "/wA="}
    assert job.view_at_end("completed", None).preview is None
    made.workspace.records.add_job(job.view(), {}, made.workspace.presence.server_id)
    row = made.workspace.records.job(job.job_id)
    assert row is not None and row.view.preview is None
    job.status = "completed"
    assert job.view().preview is None and made.workspace.job(job.job_id).preview is None


def test_it_crosses_between_processes() -> None:
    """Bytes of any value, and an answer with a trace."""
    told = Told(task_id="job-1", event=Progress(share=0.5, preview=Preview(data=bytes(range(256)), known=b"\0" * 256)))
    assert Told.model_validate_json(told.model_dump_json()) == told
    assert Told.model_validate_json(Told(task_id="job-1", event=Ended(status="cancelled")).model_dump_json())


@pytest.mark.anyio
async def test_a_trace_is_told_where_it_is_asked_for(made: Server) -> None:
    async with client(made) as asked:
        given = {"model_id": "m", "template": "so. ____!", "steps": 2, "seed": 4}
        plain = (await asked.call_tool("diffusion_sample", given)).structured_content or {}
        traced = (await asked.call_tool("diffusion_sample", given | {"trace": True})).structured_content or {}
    assert "revealed_base64" not in plain and "parity_places" not in plain
    places, revealed = traced.pop("parity_places"), traced.pop("revealed_base64")
    assert traced == plain and len(places) == plain["parity_corrections"]
    passes = np.frombuffer(base64.b64decode(revealed), "<u2").tolist()
    assert sorted(passes[4:8]) == [1, 1, 2, 2] and passes[:4] + passes[8:] == [0] * 5
