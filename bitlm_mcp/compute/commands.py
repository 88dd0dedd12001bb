"""What the compute side can be told to do; each names the answer it gets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from bitlm_core import (
    CodecName,
    DiffusionSampling,
    DistillConfig,
    EngineConfig,
    Floors,
    Growth,
    PatchingConfig,
    SamplingConfig,
    TelemetryConfig,
    TrainingConfig,
    TrainingPlan,
)
from bitlm_mcp.compute.messages import Asked, DamagedPlaces, DataPart, ModelRef
from bitlm_mcp.compute.processes import Processes


class Create(Asked):
    """Make a fresh model and save it into the folder `save_to`. Answer: `Written`."""

    kind: Literal["create"] = "create"
    model_id: str
    incarnation: int
    config: EngineConfig
    save_to: Path


class Load(Asked):
    """Read a state into memory; keep: to stay there, or only to see that it can be. Answer: `Loaded`."""

    kind: Literal["load"] = "load"
    model: ModelRef
    checkpoint: str
    keep: bool = True


class Write(Asked):
    """Save the model as it is now, between two steps of a training perhaps. Answer: `Written`."""

    kind: Literal["write"] = "write"
    model: ModelRef
    save_to: Path


class Watch(Asked):
    """Watch a model as these settings say, demand these floors, and save it. Answer: `Written`."""

    kind: Literal["watch"] = "watch"
    model: ModelRef
    telemetry: TelemetryConfig
    floors: Floors
    save_to: Path


class Train(Asked):
    """Train for the rest of a plan, saving every `autosave_s` seconds, when stopped and at the end. Answer: `Written`.

    held_out: for a plan that looks at held-out data. best_to: the folder for the state at each new best look; None: not kept.
    small_to: the folder for the small model that such a plan ends with; None: it ends without. processes: of those that share
    it; None: this process trains alone.
    """

    kind: Literal["train"] = "train"
    model: ModelRef
    job_id: str
    data: DataPart
    held_out: DataPart | None = None
    plan: TrainingPlan
    training: TrainingConfig
    autosave_s: float
    save_to: Path
    best_to: Path | None = None
    small_to: Path | None = None
    processes: Processes | None = None


class Distill(Asked):
    """Distil a model into a smaller one, which is saved into the folder `save_to`. Answer: `Distilled`.

    config: of the student, which may become larger, see `bitlm_core.distill_steps`.
    """

    kind: Literal["distill"] = "distill"
    model: ModelRef
    student_id: str
    incarnation: int
    data: DataPart
    held_out: DataPart
    config: EngineConfig
    settings: DistillConfig
    save_to: Path


class Score(Asked):
    """What data costs, byte by byte, and which records are odd. Answer: `ScoreOutcome` with the `top` oddest.

    records: how the data is cut, see `bitlm_core.record_spans`; None: each of its documents is a record.
    """

    kind: Literal["score"] = "score"
    model: ModelRef
    data: DataPart
    records: str | None
    adaptive: bool
    top: int


class Infer(Asked):
    """Continue a prompt, in up to so many attempts until the gate lets it pass. Answer: `GenerationOutcome`.

    Strict is as warn: what is withheld from whom is for the server to decide. compress_output, here and below: the answer has
    its bytes coded too, as `coded`.
    """

    kind: Literal["infer"] = "infer"
    model: ModelRef
    prompt: bytes
    max_new_bytes: int
    sampling: SamplingConfig
    safety: Literal["off", "warn", "strict"]
    attempts: int = 1
    compress_output: CodecName | None = None


class Calibrate(Asked):
    """Calibrate the model's gate, and save it into the folder `save_to`. Answer: `Calibrated`."""

    kind: Literal["calibrate"] = "calibrate"
    model: ModelRef
    data: DataPart
    quantile: float
    save_to: Path


class InferLong(Asked):
    """Predict along data. Answer: `LongOutcome` with the first bytes and windows; all bits go, packed, to `output`."""

    kind: Literal["infer_long"] = "infer_long"
    model: ModelRef
    data: DataPart
    ctx_bits: int
    overlap: int
    carry: bool
    first_bytes: int
    first_windows: int
    output: Path
    compress_output: CodecName | None = None


class DiffusionSample(Asked):
    """Fill the gaps of a template; the first four are its fields, see `bitlm_core.Template`. Answer: `FillingOutcome`.

    traced: the answer tells in which pass each byte came, and where parity bits were read out wrong.
    """

    kind: Literal["diffusion_sample"] = "diffusion_sample"
    model: ModelRef
    data: bytes
    known: bytes
    prefix: bytes
    suffix: bytes
    sampling: DiffusionSampling
    traced: bool = False
    compress_output: CodecName | None = None


class Compress(Asked):
    """Compress data into `output`, with a model or alone; records: see `bitlm_core.RECORDS_PATTERN`, None for one stream.

    `codec` other than `model` takes neither. Answer: `CompressOutcome`. Small results, up to `first_bytes`, stand in it.
    """

    kind: Literal["compress"] = "compress"
    model: ModelRef | None
    data: DataPart
    records: str | None
    first_bytes: int
    output: Path
    codec: CodecName = "model"


class Decompress(Asked):
    """Decompress data, or one record of it, into `output`. Answer: `DecompressOutcome` with the first bytes."""

    kind: Literal["decompress"] = "decompress"
    model: ModelRef | None
    data: DataPart
    record: int | None
    first_bytes: int
    output: Path
    codec: CodecName = "model"


class Repair(Asked):
    """Propose what damaged bytes were, with a model or by the data alone. Answer: `RepairOutcome` with the `first` proposals.

    All of them go to `output`, as lines of JSON; the restored data to `restored`, where that is given.
    """

    kind: Literal["repair"] = "repair"
    model: ModelRef | None
    data: DataPart
    places: DamagedPlaces
    first: int
    output: Path
    restored: Path | None = None


class InspectPatches(Asked):
    """Cut data into patches, as a model does or, by `patching`, with entropies fitted to the data.

    One of `model` and `patching` is given. Answer: `PatchesOutcome` with the `first` patches.
    """

    kind: Literal["inspect_patches"] = "inspect_patches"
    data: DataPart
    model: ModelRef | None = None
    patching: PatchingConfig | None = None
    first: int


class ShowSurprise(Asked):
    """What bytes [offset, offset + num_bytes) of data cost, frozen, in at most so many cells. Answer: `SurpriseOutcome`.

    `shown` of them, from the data's byte `shown_at` on, are told one by one.
    """

    kind: Literal["show_surprise"] = "show_surprise"
    model: ModelRef
    data: DataPart
    offset: int
    num_bytes: int
    cells: int
    shown_at: int
    shown: int


class Grow(Asked):
    """Make a model grow by a step; seed: of what is new. Answer: `Grown`.

    It is then the model of that `incarnation`, saved into the folder `save_to`; the state before goes to `before_to`.
    """

    kind: Literal["grow"] = "grow"
    model: ModelRef
    step: Growth
    seed: int
    incarnation: int
    save_to: Path
    before_to: Path


class Quantize(Asked):
    """Make a quantised model of another, or of a quantised one a model that can learn (float32). Answer: `Quantized`.

    It is saved into the folder `save_to`, as model `to`. data: for the qat_steps, None without them. before_to: the folder for
    the state that the source is in; None: not wanted.
    """

    kind: Literal["quantize"] = "quantize"
    model: ModelRef
    to: str
    incarnation: int
    mode: Literal["int8", "int4", "float32"]
    qat_steps: int
    data: DataPart | None
    save_to: Path
    before_to: Path | None


class Drop(Asked):
    """Forget a model. Answer: `Dropped`."""

    kind: Literal["drop"] = "drop"
    model_id: str


Making = Distill | Compress | Decompress | Repair | InspectPatches | ShowSurprise | Grow | Quantize
Command = Annotated[
    Create | Load | Write | Watch | Train | Score | Infer | Calibrate | InferLong | DiffusionSample | Making | Drop,
    Field(discriminator="kind"),
]
