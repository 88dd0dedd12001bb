"""A training in processes of their own, as the process that launches them sees it; torchrun itself is a dummy here."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlm_core import ConfigError, Engine, ModelStateError, TrainingConfig, TrainingPlan, read_file
from bitlm_mcp.compute import launch
from bitlm_mcp.compute.answers import Written
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Ended, Event, Failure, Progress
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.training import write_state
from bitlm_mcp.operations.models import save
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.sharing import Sharing
from bitlm_mcp.operations.training import resume
from bitlm_mcp.snapshot import HistoryPoint
from tests.mcp.workspaces import Server, config, server, wait_until

DUMMY = Path(__file__).parents[1] / "fixtures" / "dummy_torchrun.py"
TWO = Sharing(2)


@pytest.fixture
def made(tmp_path: Path) -> Iterator[Server]:
    with server(tmp_path / "state", device="cpu") as found:  # which has a core for each process, and GPUs perhaps not
        found.data()
        found.create()
        yield found


@pytest.fixture
def played(made: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the dummy play these events and lines."""

    def play(*lines: Event | str) -> None:
        script = tmp_path / "script"
        text = [line if isinstance(line, str) else line.model_dump_json() for line in lines]
        script.write_text("\n".join(text) + "\n")
        monkeypatch.setattr(launch, "TORCHRUN", (sys.executable, "-S", str(DUMMY), str(script)))

    return play


def step(number: int, **told: Any) -> Progress:
    point = HistoryPoint(number, 1.0 + number, 2.0, None, 1.0, 0.1, None, None, None)
    return Progress(share=number / 10, steps_done=number, steps_total=10, point=point, **told)


def state(made: Server, steps: int) -> Saved:
    """A state of model m as a leader would write it, after so many steps of ten."""
    entry = Entry(Engine(config()), 0)
    data = made.workspace.datasets.part("data", holdout=False).open()
    for _ in entry.engine.train_steps(data, TrainingPlan(steps=steps)):
        pass
    entry.engine.plan = TrainingPlan(steps=10, steps_done=steps)
    return write_state(entry, made.workspace.models.folder("m"), {})


def test_what_the_leader_tells_is_what_everyone_sees(made: Server, played: Any) -> None:
    first, last = state(made, 2), state(made, 3)
    torn = step(3).model_dump_json()[:40]
    again = step(2, alerts=("a worker was lost",)).model_copy(update={"point": None})
    played(
        Progress(share=0.0), step(1), step(2), step(2, saved=first).model_copy(update={"point": None}),
        f"!torn {torn}", "", again, step(3), Ended(status="completed", answer=Written(saved=last)),
    )  # fmt: skip
    view = made.ended(made.train(steps=10, sharing=TWO).job_id)
    assert (view.status, view.steps_done, view.saved_step) == ("completed", 3, 3)
    model = made.workspace.model("m")
    assert [point.step for point in model.history] == [1, 2, 3] and model.alerts == ("a worker was lost",)
    assert made.infer()[1] == 3 and made.workspace.records.job(view.job_id).request["sharing"] == TWO.plain()  # type: ignore[union-attr]
    assert not list(made.workspace.job_files.root.glob("*/run"))


def test_meanwhile_the_model_answers_from_its_last_saved_state(made: Server, played: Any) -> None:
    first, last = state(made, 2), state(made, 3)
    played(
        Progress(share=0.0), step(1), step(2, saved=first), "!stopped", step(3), step(3, saved=last), Ended(status="cancelled")
    )
    job = made.train(steps=10, sharing=TWO)
    wait_until(lambda: made.workspace.job(job.job_id).saved_step, "it saves")
    assert made.infer()[1] == 2
    cancel(made.workspace, job.job_id)
    assert made.ended(job.job_id).status == "cancelled" and made.infer()[1] == 3


def test_what_ends_by_itself_while_it_is_stopped_is_done(made: Server, played: Any) -> None:
    played(step(1), "!stopped", Ended(status="completed", answer=Written(saved=state(made, 3))))
    job = made.train(steps=10, sharing=TWO)
    made.until_step(1)
    cancel(made.workspace, job.job_id)
    assert made.ended(job.job_id).status == "completed" and made.infer()[1] == 3


def test_who_has_not_met_is_not_waited_for(made: Server, played: Any) -> None:
    played("!stdin")
    job = made.train(steps=10, sharing=TWO)
    wait_until(lambda: made.workspace.job(job.job_id).status == "running", "it starts")
    cancel(made.workspace, job.job_id)
    assert made.ended(job.job_id).status == "cancelled" and made.infer()[1] == 0


@pytest.mark.parametrize(("end", "fault"), [("told", "the loss is nan"), ("lost", "were started up to 4 times")])
def test_a_failure_leaves_the_last_saved_state(
    made: Server, played: Any, caplog: pytest.LogCaptureFixture, end: str, fault: str
) -> None:
    failure = Failure(kind=ModelStateError.__name__, message="the loss is nan: use a smaller learning_rate")
    ends = [Ended(status="failed", failure=failure)] if end == "told" else ["!say a worker's last words", "!exit 1"]
    played(step(1, saved=state(made, 1)), step(2), *ends)
    view = made.ended(made.train(steps=10, sharing=TWO).job_id)
    assert view.status == "failed" and fault in str(view.error)
    assert ("a worker's last words" in caplog.text) == (end == "lost")
    assert made.workspace.model("m").step == 1 and made.infer()[1] == 1


def test_what_cannot_be_is_refused_before_anything_starts(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TORCHRUN", ("false",))
    cores = len(os.sched_getaffinity(0))
    with pytest.raises(ConfigError, match="carry=true is for one process"):
        made.train(steps=1, sharing=TWO, carry=True)
    with pytest.raises(ConfigError, match="--rdzv-endpoint HOST:PORT"):
        made.train(steps=1, sharing=Sharing(1, nodes=2))
    with pytest.raises(ConfigError, match="give nproc=2 or more"):
        Sharing.of(1, 1, "fsdp")
    assert Sharing.of(1, 1, "ddp") is None and not list(made.workspace.job_files.root.glob("*"))
    training = TrainingConfig(batch_size=2 * cores)
    view = made.ended(made.train(steps=1, sharing=Sharing(2 * cores), training=training).job_id)
    assert view.status == "failed" and f"nproc={2 * cores} is more than the {cores} CPU cores" in str(view.error)
    assert made.workspace.model("m").step == 0


def test_the_others_are_told_the_line_that_starts_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launch, "TORCHRUN", ("false",))
    with server(tmp_path / "state", rdzv_endpoint="node0:29400") as made:
        made.data()
        made.create()
        job = made.train(steps=1, sharing=Sharing(1, nodes=2))
        told = (job.result or {})["on_the_other_nodes"]
        assert "torchrun --nnodes 2 --nproc-per-node 1" in told and f"--rdzv-id {job.job_id}" in told
        assert "--rdzv-endpoint node0:29400" in told and told.endswith(
            f"worker {tmp_path}/state/jobs/{job.job_id}/run/command.json"
        )
        view = made.ended(job.job_id)
        assert view.status == "failed" and "have not met at node0:29400" in str(view.error)


def test_machines_that_have_nowhere_to_meet_any_more_do_not_go_on(tmp_path: Path, played: Any) -> None:
    played("!stdin")
    with server(tmp_path / "other", rdzv_endpoint="node0:29400") as made:
        made.data()
        made.create()
        job = made.train(steps=1, sharing=Sharing(1, nodes=2))
        cancel(made.workspace, job.job_id)
        assert made.ended(job.job_id).status == "cancelled"
    with server(tmp_path / "other") as made, pytest.raises(ConfigError, match="start the server with --rdzv-endpoint"):
        resume(made.workspace, job.job_id, queue=False)


def test_what_was_read_meanwhile_is_read_again_when_it_is_older(made: Server, played: Any) -> None:
    first, last = state(made, 2), state(made, 3)
    played(step(2, saved=first), "!stopped", step(3), step(3, saved=last), Ended(status="cancelled"))
    job = made.train(steps=10, sharing=TWO)
    wait_until(lambda: made.workspace.job(job.job_id).saved_step, "it saves")
    kept = made.workspace
    made.completed(save(kept, "meanwhile", "m", overwrite=False, pinned=False))
    assert kept.checkpoints.verified("meanwhile").step == 2
    cancel(kept, job.job_id)
    made.ended(job.job_id)
    assert made.infer()[1] == 3


def test_who_is_queued_goes_on_from_what_was_learned_before(made: Server, played: Any, tmp_path: Path) -> None:
    """Whether alone or in several processes, and with states saved meanwhile, which are more than two."""
    lines = [step(number, saved=state(made, number)) for number in (1, 2, 3)]
    played(f"!start {tmp_path / 'start'}", *lines, "!exit 1")
    alone, shared, after = made.train(steps=4), made.train(steps=9, sharing=TWO, queue=True), made.train(steps=2, queue=True)
    assert made.ended(alone.job_id).status == "completed" and made.ended(shared.job_id).status == "failed"
    assert made.ended(after.job_id).status == "completed" and made.infer()[1] == 3 + 2
    assert Engine.from_state(*read_file(tmp_path / "start", "start")).step == 4
