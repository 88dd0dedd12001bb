"""distill_model over the protocol: a new model with its metrics beside it, or nothing at all."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
import pytest

from bitlm_mcp.results import both_channels
from bitlm_mcp.tools.distill_results import DistillResult, StudentResult
from tests.mcp.stages import TINY, WAIT, Stage, stage

ASKED: dict[str, Any] = {"student_id": "small", "dataset_id": "data", "d_model": 16, "ngram_rows": 16, "num_clusters": 2}
QUICK: dict[str, Any] = {**ASKED, "steps": 2, "max_rounds": 1, **WAIT}


def files_of(server: Stage, model_id: str) -> dict[str, bytes]:
    folder = server.workspace.settings.state_dir / "models" / model_id
    return {path.name: path.read_bytes() for path in folder.iterdir()} if folder.exists() else {}


@pytest.mark.anyio
async def test_a_student_is_a_model_of_its_own_and_tells_how_it_came_about(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = files_of(server, "default")
        found = await server.call("distill_model", **QUICK)
        assert found["status"] == "completed" and found["student_id"] == "small" and found["num_medoids"] == 2
        (one,) = found["rounds"]
        assert one["d_model"] == 16 and one["steps"] == 2 and found["teacher_parameters"] > one["num_parameters"]
        assert found["next"].startswith("score(model_id='small'")
        assert files_of(server, "default") == before
        metrics = json.loads(files_of(server, "small")["metrics.json"])
        assert metrics["rounds"] == found["rounds"] and metrics["best"] == found["best"] == 0
        shown = await server.call("wait_job", job_id=found["job_id"])
        assert shown["result"]["rounds"] == found["rounds"]
        models = {model["model_id"]: model for model in (await server.call("list_models"))["models"]}
        assert models["small"]["num_parameters"] == one["num_parameters"] and models["small"]["step"] == 2
        history = (await server.call("get_telemetry", model_id="small"))["history"]
        assert history["step"] == [1, 2]
        trained = await server.call("train_step", model_id="small", dataset_id="data", steps=1, batch_size=2, **WAIT)
        assert trained["step"] == 3 and "metrics.json" in files_of(server, "small")
        assert "exists already" in await server.refusal("distill_model", **QUICK)
        again = await server.call("distill_model", **QUICK, overwrite=True, num_layers=1, seed=1)
        assert again["rounds"][0]["num_layers"] == 1
        # A model of that name that was not distilled has no metrics.
        await server.call("init_model", **TINY, model_id="small", overwrite=True)
        assert "metrics.json" not in files_of(server, "small")


@pytest.mark.anyio
async def test_cancelled_half_way_there_is_no_student_and_the_teacher_is_as_it_was(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = files_of(server, "default")
        begun = await server.call("distill_model", **{**QUICK, "steps": 1_000_000, "wait_s": 0})
        assert begun["next"] == f"wait_job(job_id={begun['job_id']!r})"
        with anyio.fail_after(60):
            while server.workspace.job(begun["job_id"]).progress < 0.1:
                await anyio.sleep(0.01)
        ended = await server.call("cancel_job", job_id=begun["job_id"])
        assert ended["status"] == "cancelled"
        assert "small" not in server.workspace.snapshot.models
        assert not any(one.writes for one in server.workspace.leases.servers())
        assert files_of(server, "small") == {} and files_of(server, "default") == before
        said = await server.call("wait_job", job_id=begun["job_id"])
        assert said.get("next") is None
        assert (await server.call("distill_model", **QUICK))["status"] == "completed"


@pytest.mark.anyio
async def test_what_cannot_be_distilled_is_refused_before_there_is_a_job(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.call("add_dataset", dataset_id="all", text="the quick brown fox", holdout_fraction=0)
        before = server.state()
        for changed, text in (
            ({"student_id": "default"}, "is the teacher itself"),
            ({"dataset_id": "all"}, "a larger holdout_fraction"),
            ({"model_id": "none"}, "none"),
            ({"preset": "small", "d_model": None, "ngram_rows": None}, "choose a smaller preset"),
            ({"seconds": 1.0}, "give one of them"),
            ({"max_rounds": 9}, "max_rounds"),
        ):
            assert text in await server.refusal("distill_model", **{**QUICK, **changed})
        assert server.state() == before


def test_an_answer_of_all_rounds_is_short() -> None:
    figures = dict.fromkeys(("bits_per_byte", "training_loss", "kl", "gain_kept", "k", "c", "s"), 0.12345678)
    sizes = dict.fromkeys(("num_parameters", "parameters_outside_tables", "steps", "num_layers", "d_model"), 1234567890)
    row = StudentResult(**figures, **sizes, seconds=86_400.123, transition_rate=0.123456, below=["k", "c", "s"])
    known = {"teacher_bits_per_byte": 1.2345678, "teacher_parameters": 10**9, "teacher_outside_tables": 10**9}
    told = DistillResult(
        job_id="job-" + "x" * 16,
        status="completed",
        student_id="x" * 64,
        **known,  # type: ignore[arg-type]
        num_medoids=256,
        rounds=[row] * 3,
        best=2,
        reached=False,
        ended="as large as the teacher",
        seconds=1234.5678,
        next=f"score(model_id={'x' * 64!r}, dataset_id=…)",
    )
    (text,) = [getattr(part, "text", "") for part in both_channels(told).content]
    assert 500 < len(text.encode()) <= 2048
