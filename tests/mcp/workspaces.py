"""Workspaces without a protocol: small models, operations called directly, and waiting for jobs."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from bitlm_core import EngineConfig, MixingConfig, SamplingConfig, TrainingConfig, TrainingPlan, preset_config
from bitlm_mcp.call_gate import CallLog
from bitlm_mcp.housekeeping import Housekeeper
from bitlm_mcp.jobs import Job
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.models import create_model
from bitlm_mcp.operations.reading import infer
from bitlm_mcp.operations.sharing import Sharing
from bitlm_mcp.operations.training import train
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.snapshot import JobView
from bitlm_mcp.workspace import Workspace

TEXT = b"the quick brown fox jumps over the lazy dog. " * 40
LONG_S = 60.0


def config(*, mixing: bool = False, seed: int = 0, **model_fields: Any) -> EngineConfig:
    model = preset_config("tiny", **{"d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, **model_fields})
    return EngineConfig(model=model, mixing=MixingConfig(memory_mib=8) if mixing else None, seed=seed)


class Server:
    """One server process, as far as its state directory is concerned."""

    def __init__(self, state: Path, **settings: Any) -> None:
        self.workspace = Workspace(ServerSettings(state_dir=state, threads=1, **settings))
        self.calls = CallLog()
        self.housekeeper = Housekeeper(self.workspace, self.calls)

    def tick(self) -> None:
        """All chores, due or not."""
        self.housekeeper._due = [0.0] * len(self.housekeeper._chores)
        self.housekeeper.tick()

    def data(self) -> None:
        settings: dict[str, Any] = {"source": "text", "holdout_fraction": 0.1, "overwrite": True}
        add_dataset(self.workspace, "data", [[TEXT]], **settings)

    def create(self, model_id: str = "m", *, overwrite: bool = False, **fields: Any) -> Job:
        return self.completed(create_model(self.workspace, model_id, config(**fields), overwrite=overwrite))

    def train(
        self,
        model_id: str = "m",
        *,
        steps: int | None = None,
        seconds: float | None = None,
        queue: bool = False,
        key: str | None = None,
        source: Source = Source(dataset_id="data"),  # noqa: B008 - frozen
        sharing: Sharing | None = None,
        training: TrainingConfig = TrainingConfig(batch_size=2, telemetry_every=2),  # noqa: B008 - frozen
        **plan_fields: Any,
    ) -> JobView:
        plan = TrainingPlan(steps=steps, seconds=seconds, **plan_fields)
        return train(self.workspace, model_id, source, plan, training, queue=queue, idempotency_key=key, sharing=sharing)

    def trained(self, model_id: str = "m", *, steps: int, **fields: Any) -> JobView:
        view = self.ended(self.train(model_id, steps=steps, **fields).job_id)
        assert view.status == "completed", view
        return view

    def infer(self, model_id: str = "m", seed: int = 3) -> tuple[bytes, int]:
        """What a model says, and the step it says it at."""
        job = infer(self.workspace, model_id, b"the ", 16, SamplingConfig(seed=seed), "off")
        answer: Any = self.completed(job).answer
        return answer.data, answer.step

    def over(self, job: Job) -> Job:
        wait_until(lambda: job.over, f"{job.kind} ends")
        return job

    def completed(self, job: Job) -> Job:
        self.over(job)
        assert job.status == "completed", job.error
        return job

    def ended(self, job_id: str, seconds: float = LONG_S) -> JobView:
        wait_until(lambda: self.workspace.job(job_id).over, f"{job_id} ends", seconds)
        return self.workspace.job(job_id)

    def until_step(self, step: int, model_id: str = "m", seconds: float = LONG_S) -> None:
        wait_until(lambda: self.workspace.model(model_id).step >= step, f"{model_id} reaches step {step}", seconds)

    def close(self) -> None:
        self.workspace.close()


@contextmanager
def server(state: Path, **settings: Any) -> Iterator[Server]:
    made = Server(state, **settings)
    try:
        yield made
    finally:
        if not made.workspace.closing:
            made.close()


def wait_until(condition: Any, what: str, seconds: float = LONG_S) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"{what}: not within {seconds} s"
        time.sleep(0.005)
