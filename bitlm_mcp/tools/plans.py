"""How to train, as train_step takes it, and the plan and the settings that follow. None: as the engine has it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError

from bitlm_core import ConfigError, Growing, Parallel, ProgressiveConfig, TrainingConfig, TrainingPlan
from bitlm_mcp.schemas import RARE

LENGTH = ("steps", "seconds", "validate_every", "patience")
"""What says how long to train."""
KIND = ("objective", "mask_unit", "noise_curriculum", "carry")
"""The fields of a plan that say what is learned, and how the data is read."""
SETTINGS = (
    "batch_size",
    "learning_rate",
    "optimizer",
    "accumulation",
    "use_autocast",
    "compile",
    "compress_prob",
    "direct_prob",
)
"""The fields of `TrainingConfig` that a call may name."""
OF_PROGRESSIVE = ("improve_threshold", "max_parameters", "auto_collapse", "quantize")
"""The fields of `ProgressiveConfig` that a call may name."""
VALIDATE_EVERY = 50
"""Steps between two looks at held-out data, for a call that names its patience, or that the network is to grow, alone."""

Steps = Annotated[int | None, Field(ge=1, le=1_000_000, description="Optimizer steps; 1 without seconds.")]
Seconds = Annotated[float | None, Field(gt=0, le=86_400, description="Time to train for, at most.")]
BatchSize = Annotated[int | None, Field(ge=1, le=1024, description="Windows per optimizer step.")]
LearningRate = Annotated[float | None, Field(gt=0, le=1, description="Peak of the learning rate.")]
Objective = Annotated[Literal["causal", "diffusion", "mixed"], Field(description="diffusion: for diffusion_sample.")]
MaskUnit = Annotated[Literal["byte", "bit"], Field(description="What diffusion hides.", json_schema_extra=RARE)]
NoiseCurriculum = Annotated[bool, Field(description="Hide much at first, less later.", json_schema_extra=RARE)]
Carry = Annotated[bool, Field(description="Read in order, memory carried over.")]
ValidateEvery = Annotated[int | None, Field(ge=1, le=1_000_000, description="Steps between looks.")]
Patience = Annotated[int | None, Field(ge=1, le=10_000, description="Looks without gain.")]
Optimizer = Annotated[
    Literal["muon", "adamw"] | None, Field(description="Of matrices; by default muon.", json_schema_extra=RARE)
]
Accumulation = Annotated[
    int | None, Field(ge=1, le=256, description="Parts of a batch, to save memory.", json_schema_extra=RARE)
]
UseAutocast = Annotated[bool | None, Field(description="Compute in bf16, the default.", json_schema_extra=RARE)]
Compile = Annotated[bool | None, Field(description="torch.compile: slow to start.", json_schema_extra=RARE)]
CompressProb = Annotated[
    float | None, Field(ge=0, le=1, description="Windows that travel compressed, at the end.", json_schema_extra=RARE)
]
DirectProb = Annotated[float | None, Field(ge=0, le=1, description="Windows shown as compressed bits.", json_schema_extra=RARE)]
Progressive = Annotated[
    bool, Field(description="Let the network grow at each plateau of its held-out loss.", json_schema_extra=RARE)
]
ImproveThreshold = Annotated[
    float | None, Field(gt=0, lt=1, description="Of progressive: mean gain that is none.", json_schema_extra=RARE)
]
MaxParameters = Annotated[int | None, Field(ge=1, description="Of progressive: it stops there.", json_schema_extra=RARE)]
AutoCollapse = Annotated[bool, Field(description="Of progressive: at the end, distil a smaller model.", json_schema_extra=RARE)]
QuantizeAtEnd = Annotated[
    Literal["int8", "int4"] | None,
    Field(description="Of progressive: the smaller model, or else a copy.", json_schema_extra=RARE),
]
Nproc = Annotated[int, Field(ge=1, le=1024, description="Processes of this machine that train.", json_schema_extra=RARE)]
Nodes = Annotated[int, Field(ge=1, le=64, description="Machines with as many each.", json_schema_extra=RARE)]
ParallelWay = Annotated[
    Parallel, Field(description="How they share it: rows, shards of blocks, or blocks.", json_schema_extra=RARE)
]
Queue = Annotated[bool, Field(description="Wait for its turn.")]
ResumeJob = Annotated[str | None, Field(max_length=64, description="A job to go on with.")]
IdempotencyKey = Annotated[str | None, Field(min_length=1, max_length=128, description="Same call, same key: the same job.")]


def plan_of(
    *, steps: int | None, seconds: float | None, validate_every: int | None, patience: int | None, **asked: Any
) -> TrainingPlan:
    """The plan of a call: one step where no length is given. Raises ConfigError for what does not go together."""
    if (patience is not None or asked.get("growing")) and validate_every is None:
        validate_every = VALIDATE_EVERY
    try:
        return TrainingPlan(
            steps=steps or (None if seconds else 1),
            seconds=seconds,
            validate_every=validate_every,
            patience=patience,
            **asked,
        )
    except ValidationError as error:
        raise _refused(error) from None


def _refused(error: ValidationError) -> ConfigError:
    problems = (problem["msg"].removeprefix("Value error, ") for problem in error.errors(include_url=False))
    return ConfigError("; ".join(problems))


def named(given: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    """Some of the arguments of a call."""
    return {name: given[name] for name in names}


def growing_of(asked: Mapping[str, Any]) -> Growing | None:
    """How a network grows while it is trained. Raises ConfigError for settings of it where it does not."""
    progressive = asked["progressive"]
    given = {name: asked[name] for name in OF_PROGRESSIVE if asked[name] not in (None, False)}
    if given and not progressive:
        raise ConfigError(f"{', '.join(given)} belongs to progressive training: pass progressive=true, or leave that out")
    return Growing(settings=ProgressiveConfig(**given)) if progressive else None


def settings_of(asked: Mapping[str, Any]) -> TrainingConfig:
    """The settings of a call; what is None is as the engine has it. Raises ConfigError for what does not go together."""
    try:
        return TrainingConfig(**{name: value for name, value in asked.items() if value is not None})
    except ValidationError as error:
        raise _refused(error) from None


def refuse_beside_resume(given: Iterable[object], asked: Mapping[str, object]) -> None:
    """Raise ConfigError when a plan or settings were given for a training that has its own.

    `given`: None where nothing was; `asked`: fields of a plan, as they are by default where nothing was.
    """
    usual = {name: TrainingPlan.model_fields[name].default for name in asked}
    if any(value is not None for value in given) or asked != usual:
        raise ConfigError("resume_job goes on with the plan and the settings it had: pass no others beside it")
