"""The compute side in a process of its own: the same answers, and a death that costs the others nothing."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitlm_mcp.compute.isolated import IsolatedCompute
from bitlm_mcp.operations.reading import cancel, score
from bitlm_mcp.operations.training import resume
from tests.mcp.workspaces import Server, Source, server, wait_until


def child_of(made: Server) -> int:
    compute = made.workspace.runner.compute
    assert isinstance(compute, IsolatedCompute) and compute.pid is not None
    return compute.pid


@pytest.fixture(scope="module")
def straight(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, int]:
    """What a model says after 12 steps in this process."""
    with server(tmp_path_factory.mktemp("straight")) as made:
        made.data()
        made.create(mixing=True)
        made.trained(steps=12)
        return made.infer()


@pytest.fixture
def isolated(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "state", isolate=True, autosave_s=0.2) as made:
        made.data()
        yield made


def test_it_answers_as_a_thread_does_and_ends_with_its_server(isolated: Server, straight: tuple[bytes, int]) -> None:
    isolated.create(mixing=True)
    isolated.trained(steps=12)
    assert isolated.infer() == straight
    job = isolated.completed(score(isolated.workspace, "m", Source(dataset_id="data")))
    assert job.result is not None and job.result["num_bytes"] > 100
    pid = child_of(isolated)
    assert pid != os.getpid()
    isolated.close()
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_killed_child_costs_the_steps_since_the_last_save(isolated: Server, straight: tuple[bytes, int]) -> None:
    isolated.create(mixing=True)
    isolated.create("other")
    job = isolated.train(seconds=600)
    wait_until(lambda: isolated.workspace.job(job.job_id).saved_step, "the training saves")
    dead = child_of(isolated)
    os.kill(dead, signal.SIGKILL)
    view = isolated.ended(job.job_id)
    assert view.status == "interrupted" and "ended by SIGKILL" in str(view.error)
    assert isolated.workspace.model("m").step == view.saved_step
    # Other models, and this one, are used by the next child.
    assert isolated.infer("other")[1] == 0 and isolated.infer()[1] == view.saved_step
    assert child_of(isolated) != dead
    resume(isolated.workspace, job.job_id, queue=False)
    isolated.until_step((view.saved_step or 0) + 2)
    cancel(isolated.workspace, job.job_id)
    assert isolated.ended(job.job_id).status == "cancelled"


def test_a_resumed_training_in_a_child_is_exact(tmp_path: Path, straight: tuple[bytes, int]) -> None:
    with server(tmp_path / "state", isolate=True, autosave_s=0.01) as made:
        made.data()
        made.create(mixing=True)
        job = made.train(steps=12)
        wait_until(lambda: made.workspace.job(job.job_id).saved_step or made.workspace.job(job.job_id).over, "it saves")
        os.kill(child_of(made), signal.SIGKILL)
        if made.ended(job.job_id).status == "interrupted":  # else it was quicker than the kill
            resume(made.workspace, job.job_id, queue=False)
            assert made.ended(job.job_id).status == "completed"
        assert made.infer() == straight
