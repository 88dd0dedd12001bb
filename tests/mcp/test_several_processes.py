"""Trainings that two processes share, with torchrun: as one process would train, whatever befalls them.

A start of torchrun takes 15 to 20 s of CPU, so one is shared by all that can share it, and the others are slow tests; what is
around it is tested beside `compute` with a dummy in its place, and what a worker does, in the process of the tests.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from bitlm_core import read_file
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.sharing import Sharing
from bitlm_mcp.operations.training import resume
from tests.faults.victims import victim
from tests.mcp.stages import client
from tests.mcp.workspaces import Server, server, wait_until

START_S = 240.0
"""Even where the machine has much else to do."""
TWO = Sharing(2)


def tensors(made: Server, model_id: str = "m") -> dict[str, torch.Tensor]:
    """The saved state."""
    return read_file(made.workspace.models.ref(model_id).state, model_id)[0]


def differing(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> list[str]:
    return sorted(one.keys() ^ other.keys()) + [name for name in one if not torch.equal(one[name], other[name])]


def workers_of(pid: int) -> list[int]:
    """The processes that torchrun has started for a server."""
    return [child for starter in _children(pid) for child in _children(starter) if b"--with-launcher" in _line(child)]


def until_alerts(made: Server, count: int) -> None:
    wait_until(lambda: len(made.workspace.model("m").alerts) == count, "they start again", START_S)


def _children(pid: int) -> list[int]:
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        found += [int(child) for child in (task / "children").read_text().split()]
    return found


def _line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with two models that one process has trained for two steps."""
    with server(tmp_path_factory.mktemp("several"), shards_every_s=1e-9, device="cpu") as found:
        found.data()
        for model_id in ("m", "twin"):
            found.create(model_id)
            found.trained(model_id, steps=2)
        yield found


@pytest.mark.anyio
async def test_two_processes_learn_what_one_does(made: Server) -> None:
    asked = {"dataset_id": "data", "steps": 6, "validate_every": 3, "batch_size": 4}
    shared = {**asked, "model_id": "m", "nproc": 2, "wait_s": 0, "idempotency_key": "shared"}
    async with client(made) as tools:

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            answer = await tools.call_tool(tool, arguments)
            assert not answer.is_error, answer.content
            return dict(answer.structured_content or {})

        begun = await call("train_step", **shared)
        assert begun["status"] in ("queued", "running")
        assert (await call("infer", model_id="m", prompt="the", max_new_bytes=2))["model_step"] == 2
        assert (await call("train_step", **shared))["job_id"] == begun["job_id"]
        wait_until(lambda: made.workspace.job(begun["job_id"]).over, "it ends", START_S)
        done = await call("wait_job", job_id=begun["job_id"])
        alone = await call("train_step", model_id="twin", **asked, accumulation=2, wait_s=40)  # the same parts, one by one
        told = await call("get_telemetry", model_id="m")
        figures = ("status", "step", "steps_done", "loss", "bits_per_byte", "bits_per_byte_held_out", "saved_step")
        assert {name: done[name] for name in figures} == {name: alone[name] for name in figures}
        assert done["status"] == "completed" and told["step"] == 8 and len(told["history"]["loss"]) == 8
        # What it has saved, one process goes on from; and what two have done shows nowhere.
        assert differing(tensors(made), tensors(made, "twin")) == []
        again = [await call("train_step", model_id=name, dataset_id="data", steps=1, wait_s=40) for name in ("m", "twin")]
        assert again[0]["loss"] == again[1]["loss"] and again[0]["step"] == 9


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("parallel", ["ddp", "fsdp", "pipeline"])
def test_a_lost_worker_costs_nothing_but_time(tmp_path: Path, parallel: Any) -> None:
    sharing = Sharing(2, parallel=parallel)
    with server(tmp_path / "whole", autosave_s=86_400) as whole:
        whole.data()
        whole.create(mixing=True, num_layers=2)
        assert whole.ended(whole.train(steps=16, sharing=sharing).job_id, START_S).status == "completed"
        expected, losses = tensors(whole), [point.loss for point in whole.workspace.model("m").history]
    with server(tmp_path / "lossy", shards_every_s=1e-9, autosave_s=86_400) as lossy:
        lossy.data()
        lossy.create(mixing=True, num_layers=2)
        job = lossy.train(steps=16, sharing=sharing)
        for losses_before, step in enumerate((3, 9)):
            lossy.until_step(step, seconds=START_S)
            os.kill(workers_of(os.getpid())[losses_before], signal.SIGKILL)
            until_alerts(lossy, losses_before + 1)
        assert lossy.ended(job.job_id, START_S).status == "completed"
        model = lossy.workspace.model("m")
        assert all("a worker was lost" in alert for alert in model.alerts) and len(model.alerts) == 2
        assert differing(tensors(lossy), expected) == [] and [point.loss for point in model.history] == losses


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_stopped_training_is_saved_and_goes_on_in_one_process_or_two(tmp_path: Path) -> None:
    with server(tmp_path / "state", isolate=True) as made:
        made.data()
        made.create()
        job = made.train(seconds=600, sharing=TWO)
        made.until_step(3, seconds=START_S)
        cancel(made.workspace, job.job_id)
        stopped = made.ended(job.job_id, START_S)
        assert stopped.status == "cancelled" and stopped.saved_step == stopped.step == made.infer()[1]
        resume(made.workspace, job.job_id, queue=False)
        made.until_step((stopped.step or 0) + 2, seconds=START_S)
        cancel(made.workspace, job.job_id)
        assert made.ended(job.job_id, START_S).status == "cancelled"
        made.trained(steps=1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_do_not_outlive_a_killed_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tests.faults.victims.ANSWER_S", START_S)
    state = tmp_path / "state"
    with victim(state, toolsets="all") as dying:
        dying.call("init_model", model_id="m", context_mixing=False, preset="tiny", d_model=32, nhead=1, max_seq_len=64)
        job = dying.call("train_step", model_id="m", text="text " * 200, seconds=600, batch_size=2, nproc=2, wait_s=0)
        dying.until("wait_job", lambda told: told.get("step"), job_id=job["job_id"], wait_s=1)
        workers = [Path(f"/proc/{pid}") for pid in workers_of(int(dying.process.pid or 0))]
        assert len(workers) == 2
        dying.kill()
        wait_until(lambda: not any(worker.exists() for worker in workers), "the workers end")
    with victim(state, toolsets="all") as living:
        assert living.call("wait_job", job_id=job["job_id"], wait_s=0)["status"] == "interrupted"
        living.call("train_step", resume_job=job["job_id"], wait_s=0)
        living.until("wait_job", lambda told: told.get("step"), job_id=job["job_id"], wait_s=1)
        assert living.call("cancel_job", job_id=job["job_id"])["status"] in ("cancelled", "running")


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_two_machines_meet_where_the_operator_said(tmp_path: Path) -> None:
    """Both of them here: the job tells what is to be run on the other one."""
    with server(tmp_path / "state", rdzv_endpoint="localhost:29518") as made:
        made.data()
        made.create()
        job = made.train(steps=3, sharing=Sharing(1, nodes=2))
        wait_until(lambda: made.workspace.job(job.job_id).status == "running", "it waits for the other one")
        program = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
        line = f"env {(job.result or {})['on_the_other_nodes']}"
        wait_until((made.workspace.job_files.run_folder(job.job_id) / "command.json").exists, "the run is laid out")
        other = subprocess.Popen(shlex.split(line), env=os.environ | {"PATH": program})
        assert made.ended(job.job_id, START_S).status == "completed" and other.wait(60) == 0
        assert made.workspace.model("m").step == 3
