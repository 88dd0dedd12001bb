"""What everyone reads: one immutable picture of the whole state, replaced as a whole after each change.

Tools, resources and the dashboard take their facts from here, so they cannot disagree. `version` grows with every change.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from bitlm_mcp.activity import Call, ServerProcess

Status = Literal["queued", "running", "completed", "failed", "cancelled", "interrupted"]
FINAL = frozenset({"completed", "failed", "cancelled", "interrupted"})
FED = (
    "loss_raw",
    "accuracy_raw",
    "loss_compressed",
    "accuracy_compressed",
    "ratio_compressed",
    "loss_direct",
    "accuracy_direct",
    "ratio_direct",
    "codec_fallbacks",
)
"""Of trainings that show windows in several ways."""
RARE = (
    "bits_per_byte_held_out",
    "transition_rate",
    "symbiosis_kl",
    "composite",
    "attention_entropy",
    "bytes_per_second",
    "memory_bytes",
    "mean_layers",
    "patch_mean",
    "patch_spread",
    *FED,
)
LISTS = ("halt_probs", "patch_histogram")
MAX_LISTED = 256
"""Of a job's result, longer texts and lists are left out where all jobs are listed; who waits for the job gets them."""
OF_SOME = frozenset({*RARE, *LISTS})
"""What only some models and steps have: it is left out where there is none."""


@dataclass(frozen=True, slots=True)
class HistoryPoint:
    """One recorded training step of a model; K, C, S and the held-out part only where they were measured.

    transition_rate, symbiosis_kl (nats), composite: measured with K, C, S. attention_entropy: nats. memory_bytes: what the
    computing process held after the step. bytes_per_second: learned by the network in this step.
    halt_probs, mean_layers: of models that halt, the mean halting probability of each layer, and layers per position.
    patch_mean, patch_spread, patch_histogram: of byte-latent models, with K, C, S: sizes of the batch's patches in bytes.
    loss_…, accuracy_…, ratio_…, codec_fallbacks: of windows shown raw, compressed and direct, see `bitlm_core.Feed`.
    """

    step: int
    loss: float
    bits_per_byte: float
    bits_per_byte_mixed: float | None
    grad_norm: float
    learning_rate: float
    k: float | None
    c: float | None
    s: float | None
    bits_per_byte_held_out: float | None = None
    halt_probs: tuple[float, ...] | None = None
    mean_layers: float | None = None
    transition_rate: float | None = None
    symbiosis_kl: float | None = None
    composite: float | None = None
    attention_entropy: float | None = None
    bytes_per_second: float | None = None
    memory_bytes: int | None = None
    patch_mean: float | None = None
    patch_spread: float | None = None
    patch_histogram: tuple[int, ...] | None = None
    loss_raw: float | None = None
    accuracy_raw: float | None = None
    loss_compressed: float | None = None
    accuracy_compressed: float | None = None
    ratio_compressed: float | None = None
    loss_direct: float | None = None
    accuracy_direct: float | None = None
    ratio_direct: float | None = None
    codec_fallbacks: int | None = None

    @classmethod
    def of(cls, facts: Mapping[str, Any]) -> HistoryPoint:
        """What `plain` gave. Raises TypeError for anything else."""
        point = cls(**facts)
        lists: dict[str, Any] = {name: tuple(facts[name]) for name in LISTS if facts.get(name) is not None}
        return replace(point, **lists) if lists else point

    def plain(self) -> dict[str, Any]:
        """The point as JSON values by name."""
        values = {name: getattr(self, name) for name in self.__slots__}
        return {name: value for name, value in values.items() if value is not None or name not in OF_SOME}


def recorded(points: Iterable[HistoryPoint]) -> dict[str, Any]:
    """By name, the last value that these points have of each metric."""
    found: dict[str, Any] = {}
    for point in points:
        for name in HistoryPoint.__slots__:
            value = getattr(point, name)
            if value is not None:
                found[name] = value
    return found


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened to a model at a step, to be shown on its curve: `text` says what.

    drift: a metric has moved. gate: the safety gate failed an output, or it was withheld, or released.
    """

    step: int
    kind: Literal["drift", "gate"]
    text: str


@dataclass(frozen=True, slots=True)
class ModelView:
    """One model. `history` is the record, thinned when long, oldest first; `alerts` and `marks` the latest ones.

    `holder`: the other server process that writes it now; what is shown then is its last saved state.
    `flops_per_byte`: of a forward pass, see `bitlm_core.flops_per_byte`; None where it cannot be told before there is data.
    `quantized`: int8 or int4, where its network is.
    `measured`: what `recorded` finds; who has it already need not have it looked for in all of the history.
    """

    model_id: str
    state: str
    step: int
    architecture: str
    num_parameters: int
    memory_estimate_bytes: int
    diffusion_steps: int
    max_bytes: int
    config: dict[str, Any]
    job_id: str | None
    history: tuple[HistoryPoint, ...]
    alerts: tuple[str, ...]
    holder: str | None = None
    flops_per_byte: float | None = None
    quantized: str | None = None
    marks: tuple[Mark, ...] = ()
    measured: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.measured is None:
            object.__setattr__(self, "measured", recorded(self.history))

    def latest(self, name: str) -> float | None:
        """The last recorded value of a metric, None before the first."""
        value = self._last(name)
        return None if value is None else float(value)

    def _last(self, name: str) -> Any:
        return (self.measured or {}).get(name)

    def summary(self) -> dict[str, Any]:
        """All but history, config and marks: what lists show."""
        left_out = ("history", "config", "alerts", "marks", "measured")
        fields = {name: getattr(self, name) for name in self.__slots__ if name not in left_out}
        latest = ("loss", "bits_per_byte", "bits_per_byte_mixed", "k", "c", "s", "grad_norm")
        measured = {name: self.latest(name) for name in latest}
        return fields | measured | self._of_some() | {"alerts": list(self.alerts)}

    def _of_some(self) -> dict[str, Any]:
        found: dict[str, Any] = {name: self._last(name) for name in LISTS}
        found |= {name: self.latest(name) for name in RARE}
        return {name: value for name, value in found.items() if value is not None}


@dataclass(frozen=True, slots=True)
class JobView:
    """One job. Times are UNIX seconds; `progress` 0 … 1; `error` is for the caller's eyes; the rest as of its last step.

    `feed`: of a training that shows windows in several ways, the last loss, accuracy and ratio of each, and on how many windows
    the codec has failed. `saved_step`: the step of the model that its last save holds; what came after would be lost with the
    process.
    `stopped_early`: the held-out part was no longer known better, so the rest of the plan was left out. `all_read`: so it
    was because a model without a network has read all of the data; `drifted`: because a metric moved. `growths`: what has
    happened to a network that grows while it is trained. `preview`: data_base64 and known_base64 of the beginning of a template
    that this process is filling, see `bitlm_core.FillingState`; nowhere recorded.
    """

    job_id: str
    kind: str
    model_id: str
    status: Status
    progress: float
    steps_done: int
    steps_total: int | None
    bytes_per_second: float | None
    eta_s: float | None
    created: float
    finished: float | None
    error: str | None
    step: int | None = None
    loss: float | None = None
    bits_per_byte: float | None = None
    bits_per_byte_mixed: float | None = None
    bits_per_byte_held_out: float | None = None
    stopped_early: bool = False
    all_read: bool = False
    drifted: bool = False
    feed: dict[str, float] | None = None
    growths: tuple[str, ...] = ()
    saved_step: int | None = None
    result: dict[str, Any] | None = None
    preview: dict[str, str] | None = None

    @property
    def over(self) -> bool:
        """Whether the status is final."""
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class DatasetView:
    """One dataset: its sizes in bytes, the SHA-256 of all of it, and how many files it was made of.

    `statistics`: of the part to learn from, see `bitlm_core.DataStatistics`; None for datasets of older versions.
    """

    dataset_id: str
    num_bytes: int
    train_bytes: int
    holdout_bytes: int
    sha256: str
    source: str
    num_documents: int = 1
    statistics: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class CheckpointView:
    """One checkpoint as its manifest describes it; `damaged` when the manifest itself cannot be read."""

    name: str
    step: int
    num_bytes: int
    sha256: str
    saved_at: str
    model_id: str
    damaged: bool
    pinned: bool = False


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The whole state at one moment. `calls`: the latest of all servers, the latest first."""

    version: int = 0
    models: dict[str, ModelView] = field(default_factory=dict)
    jobs: dict[str, JobView] = field(default_factory=dict)
    datasets: dict[str, DatasetView] = field(default_factory=dict)
    checkpoints: dict[str, CheckpointView] = field(default_factory=dict)
    servers: tuple[ServerProcess, ...] = ()
    calls: tuple[Call, ...] = ()

    def summary(self) -> dict[str, Any]:
        """The state without histories, previews, servers and calls, as plain JSON values."""
        return {
            "version": self.version,
            "models": [model.summary() for model in self.models.values()],
            "jobs": [_briefly(job) for job in self.jobs.values()],
            "datasets": [plain(dataset) for dataset in self.datasets.values()],
            "checkpoints": [plain(checkpoint) for checkpoint in self.checkpoints.values()],
        }


def plain(view: JobView | DatasetView | CheckpointView | Call | Mark) -> dict[str, Any]:
    """The fields of a flat view. It is immutable, so nothing need be copied, which is most of what `asdict` does."""
    return {name: getattr(view, name) for name in view.__slots__}


def listed(job: JobView) -> dict[str, Any]:
    """A job among others: of its result, what is not long."""
    result = job.result and {name: value for name, value in job.result.items() if not _is_long(value)}
    return plain(job) | {"result": result}


def _briefly(job: JobView) -> dict[str, Any]:
    values = listed(job)
    del values["preview"]
    return values


def _is_long(value: Any) -> bool:
    return isinstance(value, str | list | tuple | dict) and len(value) > MAX_LISTED
