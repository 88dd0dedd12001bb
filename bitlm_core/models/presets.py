"""Networks by a word, tiny, small or base, with any of their sizes replaced. No torch in here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bitlm_core.errors import ConfigError
from bitlm_core.models.config import DEFAULT_CHUNK, Architecture, ModelConfig, Preset, describe_invalid
from bitlm_core.models.patch_sizes import HEAD_WIDTH, PatchSizes
from bitlm_core.patching.config import PatchingConfig

DEFAULT_PRESET: Preset = "small"
DEFAULT_THRESHOLD = 0.99
_SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"d_model": 128, "nhead": 2, "num_layers": 2, "dim_feedforward": 512},
    "small": {"d_model": 192, "nhead": 3, "num_layers": 3, "dim_feedforward": 768},
    "base": {"d_model": 256, "nhead": 4, "num_layers": 6, "dim_feedforward": 1024},
}
_CHUNKS: dict[str, int] = {"tiny": 64, "small": 64, "base": 128}
_NGRAM_ROWS: dict[str, int] = {"tiny": 4096, "small": 16_384, "base": 16_384}
_WINDOWS: dict[str, dict[str, int]] = {
    "byte": {"tiny": 256, "small": 256, "base": 512},
    "bit": {"tiny": 576, "small": 1152, "base": 2304},
    "patch": {"tiny": 256, "small": 256, "base": 512},
}
_PATCH: dict[str, dict[str, Any]] = {
    "tiny": {"local_width": 64},
    "small": {"local_width": 96},
    "base": {"local_width": 128, "decoder_layers": 2},
}
_PATCH_NAMES = {"global_layers": "num_layers", "hidden_size": "d_model", "ngram_vocab_size": "ngram_rows"}
"""The names of the paper for what is a byte-latent network's own, and ours."""


def preset_config(preset: Preset | None = None, architecture: Architecture = "byte", **overrides: Any) -> ModelConfig:
    """The preset (`small`, unless another is given) with the given fields replaced; None leaves a field as the preset has it.

    Attention of byte networks is chunked unless another is given; of others it is full. A `chunk_size` or an `overlap`
    without `attention` means chunked. A new `d_model` without `nhead` keeps heads of 64 where it can, and without
    `dim_feedforward` the ratio of 4. `use_act` without `act_threshold` halts at 0.99.
    With `patch`, fields of PatchSizes and of PatchingConfig may be given too, with `patching` for the scheme, and the names of
    the paper: `hidden_size, global_layers, ngram_vocab_size`.
    `mix` has no network, so neither a preset nor any field may be given with it.
    Raises ConfigError, naming each field, when a value is out of range or fields do not fit together.
    """
    given = {name: value for name, value in overrides.items() if value is not None}
    if architecture == "mix":
        return _mix_config({**({"preset": preset} if preset else {}), **given})
    _check_patch_names(given, architecture)
    preset = preset or DEFAULT_PRESET
    fields = _preset_fields(preset, architecture)
    if architecture == "patch":
        given = {_PATCH_NAMES.get(name, name): value for name, value in given.items()}
        given["patch"] = {**_PATCH[preset], **_patch_fields(given)}
    if "d_model" in given:
        given.setdefault("nhead", max(1, given["d_model"] // 64))
        given.setdefault("dim_feedforward", 4 * given["d_model"])
    if "chunk_size" in given or "overlap" in given:
        given.setdefault("attention", "chunked")
    if given.get("attention") == "full":
        fields["chunk_size"] = None
    elif given.get("attention") == "chunked" and not fields.get("chunk_size"):
        given.setdefault("chunk_size", DEFAULT_CHUNK)
    use_act = given.pop("use_act", None)
    if use_act is False and "act_threshold" in given:
        raise ConfigError(f"act_threshold={given['act_threshold']} has no meaning with use_act=false: give one of them")
    if use_act:
        given.setdefault("act_threshold", DEFAULT_THRESHOLD)
    try:
        return ModelConfig(**{**fields, **given})
    except ValidationError as error:
        raise ConfigError(describe_invalid(error)) from None


def _preset_fields(preset: Preset, architecture: Architecture) -> dict[str, Any]:
    fields = dict(_SIZES[preset], architecture=architecture, max_seq_len=_WINDOWS[architecture][preset])
    if architecture != "bit":
        fields["ngram_rows"] = _NGRAM_ROWS[preset]
    if architecture == "byte":
        fields |= {"attention": "chunked", "chunk_size": _CHUNKS[preset]}
    return fields


def _check_patch_names(given: Mapping[str, Any], architecture: Architecture) -> None:
    """Raise ConfigError for what only byte-latent networks have, and for one thing under two names."""
    if architecture != "patch":
        only = (*_PATCH_NAMES, *PatchSizes.model_fields, *PatchingConfig.model_fields, "use_monotonic")
        named = ", ".join(f"{name}={given[name]!r}" for name in only if name in given)
        if named:
            raise ConfigError(
                f"{named}: architecture={architecture!r} has no patches: leave that out, or use architecture='patch'"
            )
    for theirs, ours in _PATCH_NAMES.items():
        if theirs in given and ours in given:
            raise ConfigError(f"{theirs}={given[theirs]!r} and {ours}={given[ours]!r} are one thing: give one of them")


def _patch_fields(given: dict[str, Any]) -> dict[str, Any]:
    """Takes what PatchSizes and PatchingConfig know out of `given`; as PatchSizes has it."""
    if "patching" in given:
        given["scheme"] = given.pop("patching")
    cutting = {name: given.pop(name) for name in (*PatchingConfig.model_fields, "use_monotonic") if name in given}
    sizes = {name: given.pop(name) for name in PatchSizes.model_fields if name in given}
    if "local_width" in sizes:
        sizes.setdefault("local_heads", max(1, sizes["local_width"] // HEAD_WIDTH))
    return {**sizes, "patching": cutting}


def _mix_config(given: Mapping[str, Any]) -> ModelConfig:
    if given:
        named = ", ".join(f"{name}={value!r}" for name, value in given.items())
        raise ConfigError(f"architecture='mix' has no network that {named} could describe: leave that out")
    return ModelConfig(architecture="mix")
