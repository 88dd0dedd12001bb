"""distill_model: a smaller model that keeps what a larger one has learned."""

from __future__ import annotations

from functools import partial
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context
from pydantic import Field

from bitlm_core import ConfigError, DistillConfig, EngineConfig, student_config, target_config
from bitlm_mcp.operations import distilling as operations
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.tools import network
from bitlm_mcp.tools.distill_results import DistillResult
from bitlm_mcp.tools.job_results import next_call
from bitlm_mcp.tools.parameters import DatasetId, ModelId, NewModelId, Overwrite, Seed, WaitSeconds
from bitlm_mcp.tools.waiting import finished, off_loop
from bitlm_mcp.workspace import Workspace

SECONDS = 120.0
"""Of each round, where no budget is asked for."""
OptionalPreset = Annotated[
    Literal["tiny", "small", "base"] | None, Field(description="Sizes; else a quarter of the teacher's.")
]
Kind = Annotated[Literal["byte", "bit", "patch"] | None, Field(description="Of the student, else as the teacher.")]
Mixing = Annotated[bool, Field(description="As the teacher; false: none.")]
Steps = Annotated[int | None, Field(ge=1, le=1_000_000, description="Of each round.")]
Seconds = Annotated[float | None, Field(gt=0, le=86_400, description="Of each round, else 120.")]
DataWeight = Annotated[float, Field(ge=0, le=100, description="Of the data's own loss.")]
TeacherWeight = Annotated[float, Field(ge=0.001, le=100, description="Of KL to the teacher.")]
Clusters = Annotated[int, Field(ge=0, le=256, description="Medoids shown first; 0: none.")]
MinGain = Annotated[float, Field(ge=0.001, le=1, description="Below it a larger one is tried.")]
WidthScale = Annotated[float, Field(gt=1, le=8, description="To widen by, once.")]
Rounds = Annotated[int, Field(ge=1, le=8, description="Students trained at most.")]
_SIZES = ("preset", "architecture", "d_model", "nhead", "num_layers", "dim_feedforward", "ngram_rows")
_SETTINGS = ("steps", "data_weight", "teacher_weight", "num_clusters", "min_gain", "width_scale", "max_rounds")


def distilling_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools of this module, bound to a workspace."""

    async def distill_model(
        ctx: Context[Any, Any],
        student_id: NewModelId,
        dataset_id: DatasetId,
        model_id: ModelId = "default",
        preset: OptionalPreset = None,
        architecture: Kind = None,
        d_model: network.Width = None,
        nhead: network.Heads = None,
        num_layers: network.Layers = None,
        dim_feedforward: network.FeedForward = None,
        ngram_rows: network.NgramRows = None,
        context_mixing: Mixing = True,
        steps: Steps = None,
        seconds: Seconds = None,
        data_weight: DataWeight = 0.1,
        teacher_weight: TeacherWeight = 1.0,
        num_clusters: Clusters = 8,
        min_gain: MinGain = 0.97,
        width_scale: WidthScale = 1.5,
        max_rounds: Rounds = 3,
        seed: Seed = 0,
        overwrite: Overwrite = False,
        wait_s: WaitSeconds = 20,
    ) -> DistillResult:
        """Make a smaller model of model_id, which stays as it is: it learns the teacher's byte probabilities and the dataset.

        While it keeps less than min_gain of the teacher's gain on the held-out part, or misses a floor, a larger one is tried.
        The best is kept, as student_id, when the job has completed.
        """
        asked = locals()
        sizes = {name: asked[name] for name in _SIZES}
        settings = _settings({name: asked[name] for name in _SETTINGS}, seconds)
        student = partial(_student, sizes=sizes, mixing=context_mixing, seed=seed)
        asking = partial(operations.distill_model, workspace, model_id, student_id, dataset_id, overwrite=overwrite)
        job = await off_loop(asking, student, settings)
        view = await finished(workspace, job.job_id, wait_s, ctx)
        return DistillResult(job_id=view.job_id, status=view.status, next=next_call(view), **view.result or {})

    return [ToolSpec(distill_model, "Distill a model", read_only=False, destructive=True, idempotent=False)]


def _settings(given: dict[str, Any], seconds: float | None) -> DistillConfig:
    """Raises ConfigError for two budgets."""
    if given["steps"] is not None and seconds is not None:
        raise ConfigError(f"steps={given['steps']} and seconds={seconds:g}: give one of them, the budget of each round")
    return DistillConfig(**given, seconds=seconds if seconds or given["steps"] else SECONDS)


def _student(teacher: EngineConfig, *, sizes: dict[str, Any], mixing: bool, seed: int) -> EngineConfig:
    return student_config(teacher, target_config(teacher.model, **sizes), mixing=mixing, seed=seed)
