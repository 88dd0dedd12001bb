"""Models made and trained over the protocol: as asked for, side by side with other calls, and stopped."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from bitlm_core import ModelConfig, TrainingConfig, flops_per_byte
from bitlm_mcp.operations.models import save
from tests.mcp.stages import TINY, WAIT, stage


@pytest.mark.anyio
async def test_a_second_training_is_refused_or_queued(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        first = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        assert first["status"] in ("queued", "running") and "wait_job" in first["next"]
        await server.until_it_trains()
        text = await server.refusal("train_step", dataset_id="data", steps=1)
        assert first["job_id"] in text and "queue=true" in text
        queued = await server.call("train_step", dataset_id="data", steps=1, wait_s=0, queue=True)
        seen = await server.call("get_telemetry")
        assert (seen["job_id"], seen["state"]) == (first["job_id"], "training")
        assert first["job_id"] in await server.refusal("train_step", dataset_id="data", steps=1)
        waiting = await server.call("wait_job", job_id=queued["job_id"], wait_s=0)
        assert waiting["status"] == "queued" and waiting["steps_done"] == 0 and "loss" not in waiting
        listed = await server.call("list_jobs", limit=2)
        assert [job["job_id"] for job in listed["jobs"]] == [first["job_id"], queued["job_id"]]
        assert "cancel_job first" in await server.refusal("init_model", **TINY, overwrite=True)
        assert "cancel_job first" in await server.refusal("load_checkpoint", name="good", overwrite=True)
        cancelled = await server.call("cancel_job", job_id=first["job_id"])
        assert cancelled["status"] == "cancelled"
        done = await server.call("wait_job", job_id=queued["job_id"], wait_s=40)
        assert done["status"] == "completed" and done["steps_done"] == 1


@pytest.mark.anyio
async def test_a_job_tells_its_own_end_for_ever(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        first = await server.call("train_step", dataset_id="data", steps=2, **WAIT)
        assert first["step"] == 4 and first["loss"] > 0
        await server.call("train_step", dataset_id="data", steps=3, **WAIT)
        await server.call("init_model", **TINY, overwrite=True)
        again = await server.call("wait_job", job_id=first["job_id"], wait_s=0)
        kept = ("step", "loss", "bits_per_byte", "steps_done", "status")
        assert {name: again[name] for name in kept} == {name: first[name] for name in kept}


@pytest.mark.anyio
async def test_settings_of_one_training_do_not_stick(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.call("train_step", dataset_id="data", steps=1, learning_rate=1e-6, batch_size=3, **WAIT)
        await server.call("train_step", dataset_id="data", steps=1, **WAIT)
        training = server.workspace.model("default").config["training"]
        assert training["learning_rate"] == TrainingConfig().learning_rate
        assert training["batch_size"] == TrainingConfig().batch_size


FORMS: list[dict[str, Any]] = [
    {"attention": "chunked", "chunk_size": 16, "overlap": 8, "reversible": True, "position": "sinusoidal"},
    {"attention": "differential", "use_checkpoint": True, "act_threshold": 0.9},
    {"use_act": True},
]


@pytest.mark.anyio
async def test_every_form_of_a_network_can_be_made_trained_and_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        for form in FORMS:
            made = await server.call("init_model", **TINY, **form, model_id="n", overwrite=True)
            told = dict(form)
            if told.pop("use_act", False):
                told["act_threshold"] = 0.99
            assert told.items() <= made["config"]["model"].items()
            done = await server.call("train_step", model_id="n", dataset_id="data", steps=2, **WAIT)
            assert done["status"] == "completed"
            await server.call("infer", model_id="n", prompt="The", max_new_bytes=4)
            told = await server.call("get_telemetry", model_id="n")
            if {"use_act", "act_threshold"} & form.keys():
                assert len(told["halt_probs"]) == 2 and all(0 < share < 1 for share in told["halt_probs"])
                assert 1 <= told["mean_layers"] <= 2
            else:
                assert not {"halt_probs", "mean_layers"} & told.keys()


@pytest.mark.anyio
async def test_a_training_is_as_it_was_asked_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        settings = {"optimizer": "adamw", "accumulation": 2, "use_autocast": False}
        done = await server.call("train_step", dataset_id="data", steps=5, carry=True, validate_every=2, **settings, **WAIT)
        assert done["bits_per_byte_held_out"] > 0 and "stopped_early" not in done
        view = server.workspace.model("default")
        assert settings.items() <= view.config["training"].items()
        told = await server.call("get_telemetry")
        assert told["bits_per_byte_held_out"] == done["bits_per_byte_held_out"]
        looks = told["history"]["bits_per_byte_held_out"]
        assert [look is not None for look in looks] == [False, False, False, True, False, True, False]


@pytest.mark.anyio
async def test_context_mixing_alone_is_made_trained_and_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = await server.call("init_model", model_id="m", architecture="mix", mixing_memory_mib=8)
        assert (made["num_parameters"], made["config"]["model"]) == (0, {"architecture": "mix"})
        assert made["config"]["mixing"]["memory_mib"] == 8 and made["memory_estimate_bytes"] < 100 << 20
        done = await server.call("train_step", model_id="m", dataset_id="data", steps=50, **WAIT)
        assert (done["status"], done["steps_done"], done["steps_total"], done["progress"]) == ("completed", 1, 50, 1)
        assert "all of the data was read" in done["note"] and "stopped_early" not in done
        assert 0 < done["bits_per_byte"] == done["bits_per_byte_mixed"] < 8
        again = await server.call("train_step", model_id="m", dataset_id="data", seconds=60, **WAIT)
        assert (again["status"], again["steps_done"], again["note"]) == ("completed", 0, done["note"])
        assert (await server.call("wait_job", job_id=again["job_id"], wait_s=0))["note"] == done["note"]
        told = await server.call("get_telemetry", model_id="m")
        assert told["step"] == 1 and all(0 < told[name] <= 1 for name in "kcs")
        known = await server.call("score", model_id="m", dataset_id="data", **WAIT)
        assert known["bits_per_byte"] < 2 and "bits_per_byte_network" not in known
        said = await server.call("infer", model_id="m", prompt="the quick ", max_new_bytes=8, temperature=0.0)
        assert said["text"] == "brown fo"
        along = await server.call("infer_long", model_id="m", dataset_id="data", **WAIT)
        assert along["accuracy"] > 0.9
        assert "continue a prompt with infer" in await server.refusal("diffusion_sample", model_id="m")
        for given in ({"batch_size": 4}, {"objective": "diffusion"}, {"carry": True}, {"learning_rate": 0.1}):
            text = await server.refusal("train_step", model_id="m", dataset_id="data", **given)
            assert "only networks are trained with that" in text
        await server.call("save_checkpoint", name="mixed", model_id="m")
        await server.call("load_checkpoint", name="mixed", model_id="twin")
        twin = await server.call("infer", model_id="twin", prompt="the quick ", max_new_bytes=8, temperature=0.0)
        assert twin == said


@pytest.mark.anyio
async def test_diffusion_with_a_network_of_its_own_is_scored_by_a_bound(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = [
            await server.call("init_model", **TINY, model_id="d", overwrite=True, diffusion=kind)
            for kind in (None, "shared", "own")
        ]
        sizes = [each["num_parameters"] for each in made]
        assert sizes[2] == sizes[0] + sizes[1] > 2 * sizes[0]
        hidden = {"mask_unit": "bit", "noise_curriculum": True}
        text = await server.refusal("train_step", model_id="d", dataset_id="data", **hidden)
        assert "objective='causal' hides nothing" in text
        before = await server.call("score", model_id="d", text="the quick brown fox", **WAIT)
        assert "bits_per_byte_bound" not in before
        done = await server.call("train_step", model_id="d", dataset_id="data", objective="mixed", steps=2, **hidden, **WAIT)
        assert done["status"] == "completed"
        after = await server.call("score", model_id="d", text="the quick brown fox", **WAIT)
        assert 4 < after["bits_per_byte_bound"] < 9


@pytest.mark.anyio
async def test_tables_of_ngrams_are_as_large_as_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = [
            await server.call("init_model", **TINY, model_id="n", overwrite=True, ngram_rows=rows) for rows in (0, 100, None)
        ]
        assert [each["config"]["model"]["ngram_rows"] for each in made] == [0, 100, 4096]
        assert made[1]["num_parameters"] - made[0]["num_parameters"] == 2 * 100 * TINY["d_model"]  # type: ignore[operator]
        flops = {each["flops_per_byte"] for each in made}  # tables are looked up, whatever their size
        assert flops == {flops_per_byte(ModelConfig.model_validate(made[0]["config"]["model"]))}
        assert "ngram_rows=1" in await server.refusal("init_model", model_id="b", architecture="bit", ngram_rows=1)


@pytest.mark.anyio
async def test_patience_ends_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as server:
        monkeypatch.setattr("bitlm_core.learning.held_out_loss", lambda *_: math.log(2))
        done = await server.call("train_step", dataset_id="data", steps=900, validate_every=1, patience=3, **WAIT)
        assert done["stopped_early"] and done["status"] == "completed" and done["progress"] == 1
        assert (done["steps_done"], done["steps_total"], done["bits_per_byte_held_out"]) == (4, 900, 1.0)
        assert await server.call("wait_job", job_id=done["job_id"], wait_s=0) == done


@pytest.mark.anyio
async def test_a_cancelled_save_or_init_did_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = server.state()
        running = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains()
        job = save(server.workspace, "never", "default", overwrite=False, pinned=False)
        server.workspace.runner.compute.stop_task(job.job_id)
        with anyio.fail_after(20):
            while not job.over:
                await anyio.sleep(0.01)
        if job.status == "cancelled":  # else it was quicker than the cancel, and everybody sees what it did
            assert "never" not in server.workspace.checkpoints.names()
        else:
            assert "never" in server.workspace.snapshot.checkpoints
        await server.call("cancel_job", job_id=running["job_id"])
        assert before[0].datasets == server.workspace.snapshot.datasets


@pytest.mark.anyio
async def test_infer_waits_for_two_steps_at_most_and_a_cancel_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the moment the server takes the call: how long the call travels is the machine's business."""
    async with stage(tmp_path) as server:
        taken_at: list[int] = []

        def noting_the_step(take: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *job: (taken_at.append(server.workspace.model("default").step), take(*job))[1]

        job = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains(3)
        compute = server.workspace.runner.compute
        monkeypatch.setattr(compute, "submit", noting_the_step(compute.submit))
        for seed in range(5):
            answer = await server.call("infer", prompt="The", max_new_bytes=4, seed=seed)
            assert 0 <= answer["model_step"] - taken_at[-1] <= 2
        monkeypatch.setattr(compute, "stop_task", noting_the_step(compute.stop_task))
        cancelled = await server.call("cancel_job", job_id=job["job_id"])
        assert cancelled["status"] == "cancelled" and 0 <= cancelled["step"] - taken_at[-1] <= 1
        assert cancelled["step"] == server.workspace.model("default").step and len(taken_at) == 6
        # What was learned is kept, and the model goes on.
        again = await server.call("train_step", dataset_id="data", steps=1, **WAIT)
        assert again["step"] == cancelled["step"] + 1


@pytest.mark.anyio
async def test_a_call_that_its_client_gives_up_cancels_its_training(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with anyio.create_task_group() as calls:

            async def train() -> None:
                await server.call("train_step", dataset_id="data", seconds=600, wait_s=40)

            calls.start_soon(train)
            await server.until_it_trains()
            calls.cancel_scope.cancel()
        listed = await server.call("list_jobs", limit=1)
        job_id = listed["jobs"][0]["job_id"]
        stopped = await server.call("wait_job", job_id=job_id, wait_s=20)
        assert stopped["status"] == "cancelled"
        # Somebody who only watches a job may leave without harm.
        watched = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains()
        with anyio.move_on_after(0.5):
            await server.call("wait_job", job_id=watched["job_id"], wait_s=40)
        assert (await server.call("wait_job", job_id=watched["job_id"], wait_s=0.2))["status"] == "running"
        await server.call("cancel_job", job_id=watched["job_id"])
