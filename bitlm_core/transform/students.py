"""What a student is: its sizes, the larger ones that are tried when it learns too little, and its settings.

Larger, round by round: one layer more, then wider (once), then one layer more each time. No torch in here.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bitlm_core.engine_config import EngineConfig, check_quantization, estimate_engine_bytes
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.config import BITS_PER_GROUP, Architecture, ModelConfig, Preset, count_parameters, describe_invalid
from bitlm_core.models.presets import preset_config
from bitlm_core.training.config import TrainingConfig
from bitlm_core.training.growing import ProgressiveConfig
from bitlm_core.transform.distill_config import DistillConfig

KEPT_BYTES = 16
"""What is kept of each byte of the data where context mixing teaches alone."""
SHARE = 0.25
"""Of its teacher's parameters, what a student has at most where no size is asked for: in all, and outside of tables."""
_WIDTHS = 16  # a width is a multiple of it


def student_config(
    teacher: EngineConfig,
    model: ModelConfig | None = None,
    *,
    training: TrainingConfig | None = None,
    mixing: MixingConfig | bool = True,
    seed: int = 0,
) -> EngineConfig:
    """A student of a teacher: what is not given is as the teacher has it, the sizes are about a quarter of its own.

    mixing: true, as the teacher; false, none. What was calibrated with the teacher's own generations is not taken over.
    Raises ConfigError where there is no network to be taught, or none that is smaller.
    """
    if model is None:
        model = smaller(teacher.model)
    _check_network(model)
    beside = teacher.mixing if mixing is True else mixing or None
    return EngineConfig(
        model=model,
        training=training or (teacher.training if teacher.model.has_network else TrainingConfig()),
        mixing=beside,
        floors=teacher.floors.model_copy(update={"calibrated": ()}),
        telemetry=teacher.telemetry,
        seed=seed,
    )


def smaller(model: ModelConfig, share: float = SHARE) -> ModelConfig:
    """The widest network of the same kind and depth with at most this share of the parameters, in all and outside of tables.

    Raises ConfigError where there is none.
    """
    if not model.has_network:
        raise ConfigError("architecture='mix' has no sizes to be made smaller: name those of the student")
    for width in range(model.d_model // _WIDTHS * _WIDTHS, 0, -_WIDTHS):
        found = _narrowed(model, width, share)
        if found is not None:
            return found
    raise ConfigError(
        f"a network with {count_parameters(model):,} parameters, {model.d_model} wide, has no smaller one of its kind with "
        f"{share:.0%} of them: name the student's sizes, with fewer layers"
    )


def estimate_distill_bytes(teacher: EngineConfig, student: EngineConfig, settings: DistillConfig, num_bytes: int) -> int:
    """Upper estimate of the memory that distilling on so much data takes beside the teacher itself, before any of it exists."""
    sizes = larger(student.model, settings, teacher.model)
    students = [estimate_engine_bytes(student.model_copy(update={"model": size})) for size in sizes]
    best = max(students) if len(students) > 1 else 0  # it stays while the next one is trained
    if not teacher.model.has_network:
        return max(students) + best + KEPT_BYTES * num_bytes
    # A forward pass over the student's batch: at most what training on that would take.
    asked = teacher.model_copy(update={"mixing": None, "training": student.training})
    return max(students) + best + estimate_engine_bytes(asked)


def check_ending(teacher: EngineConfig, settings: ProgressiveConfig) -> None:
    """Raise ConfigError where no small model could be made of this one at the end of a training, as the settings ask."""
    if settings.auto_collapse:
        try:
            student_config(teacher)
        except ConfigError as error:
            raise ConfigError(
                f"auto_collapse=true would have nothing to make at the end ({error.message.split(':')[0]}): start with a wider "
                "network (d_model), or leave it out"
            ) from None
    if settings.quantize:
        check_quantization(teacher.model, 0, has_data=False)


def estimate_small_bytes(teacher: EngineConfig, settings: ProgressiveConfig, num_bytes: int) -> int:
    """Upper estimate of the memory that this takes beside the model itself, on so much data."""
    if not settings.auto_collapse:
        return estimate_engine_bytes(teacher)
    return estimate_distill_bytes(teacher, student_config(teacher), DistillConfig(steps=1), num_bytes)


def outside_tables(model: ModelConfig) -> int:
    """Parameters but those of hashed n-grams."""
    return count_parameters(model.model_copy(update={"ngram_rows": 0}))


def target_config(
    teacher: ModelConfig, preset: Preset | None = None, architecture: Architecture | None = None, **sizes: Any
) -> ModelConfig:
    """A student's sizes by name; None leaves a field open. Without a preset and of the teacher's kind, it is the teacher
    otherwise; where nothing is asked for at all, see `smaller`.

    Of another kind it has the teacher's window, and is tiny otherwise. Raises ConfigError for what does not fit together.
    """
    given = {name: value for name, value in sizes.items() if value is not None}
    kind = architecture or (teacher.architecture if teacher.has_network else "byte")
    if preset is None and kind == teacher.architecture:
        if not given:
            return smaller(teacher)
        if "d_model" in given:
            given.setdefault("nhead", max(1, given["d_model"] // 64))
            given.setdefault("dim_feedforward", 4 * given["d_model"])
        return _with(teacher, given)
    if teacher.has_network and kind != "mix":
        per_byte = BITS_PER_GROUP if kind == "bit" else 1
        given.setdefault("max_seq_len", teacher.max_bytes * per_byte)
    return preset_config(preset or "tiny" if kind != "mix" else preset, kind, **given)


def check_smaller(teacher: ModelConfig, student: ModelConfig) -> None:
    """Raise ConfigError for a student that is no smaller than its teacher's network, and for none at all."""
    _check_network(student)
    if teacher.has_network and count_parameters(student) >= count_parameters(teacher):
        raise ConfigError(
            f"the student would have {count_parameters(student):,} parameters, its teacher has {count_parameters(teacher):,}: "
            "choose a smaller preset, d_model, num_layers or ngram_rows"
        )


def larger(model: ModelConfig, settings: DistillConfig, teacher: ModelConfig) -> list[ModelConfig]:
    """The sizes of all rounds, the first one as given; as many as can be made, and are smaller than the teacher."""
    found = [model]
    while len(found) < settings.max_rounds:
        try:
            after = widened(found[-1], settings.width_scale) if len(found) == 2 else deepened(found[-1])
            check_smaller(teacher, after)
        except ConfigError:
            break
        found.append(after)
    return found


def deepened(model: ModelConfig) -> ModelConfig:
    """One layer more. Raises ConfigError for more than there may be."""
    return _with(model, {"num_layers": model.num_layers + 1})


def widened(model: ModelConfig, scale: float) -> ModelConfig:
    """All widths times `scale`, rounded to what the heads can share; the number of heads stays. Raises ConfigError as above."""
    heads = model.nhead * (4 if model.attention == "differential" else 2)
    wider: dict[str, Any] = {"d_model": _times(model.d_model, scale, heads)}
    wider["dim_feedforward"] = _times(model.dim_feedforward, scale, 8)
    if model.patch is not None:
        local = _times(model.patch.local_width, scale, 2 * model.patch.local_heads)
        wider["patch"] = {**model.patch.model_dump(), "local_width": local}
    return _with(model, wider)


def _narrowed(model: ModelConfig, width: int, share: float) -> ModelConfig | None:
    """A network of that width with as many rows in its tables as the share leaves room for; None where it leaves none."""
    scale = width / model.d_model
    heads = next((count for count in range(max(1, round(model.nhead * scale)), 0, -1) if width % (4 * count) == 0), 1)
    narrow: dict[str, Any] = {"d_model": width, "nhead": heads, "ngram_rows": 0}
    narrow["dim_feedforward"] = max(16, round(model.dim_feedforward * scale))
    if model.patch is not None:
        local = max(_WIDTHS, int(model.patch.local_width * scale) // _WIDTHS * _WIDTHS)
        local_heads = next(count for count in range(model.patch.local_heads, 0, -1) if local % (2 * count) == 0)
        narrow["patch"] = {**model.patch.model_dump(), "local_width": local, "local_heads": local_heads}
    try:
        bare = _with(model, narrow)
    except ConfigError:
        return None
    if count_parameters(bare) > share * outside_tables(model):
        return None
    per_row = count_parameters(bare.model_copy(update={"ngram_rows": 1})) - count_parameters(bare)
    room = int(share * count_parameters(model)) - count_parameters(bare)
    rows = min(model.ngram_rows, room // per_row) if per_row else 0
    return _with(bare, {"ngram_rows": 1 << (rows.bit_length() - 1) if rows else 0})


def _check_network(student: ModelConfig) -> None:
    if not student.has_network:
        raise ConfigError(
            "architecture='mix' has no network that could be taught: its statistics come from the data alone. Choose a student "
            "with architecture='byte', or train an architecture='mix' model on the data itself"
        )


def _times(size: int, scale: float, unit: int) -> int:
    return max(size + unit, round(size * scale / unit) * unit)


def _with(model: ModelConfig, changed: Mapping[str, Any]) -> ModelConfig:
    try:
        return ModelConfig(**{**model.model_dump(), **changed})
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from None
