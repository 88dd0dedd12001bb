"""The model card of a repository: what the checkpoint itself tells, and no figure that was not measured.

A figure stands here when the checkpoint's record has it, with the step it was measured at and how.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from bitlm_core.checkpoint.header import VERSION
from bitlm_core.checkpoint.manifest import CheckpointInfo
from bitlm_core.engine_config import EngineConfig
from bitlm_core.models.config import count_parameters

MEASURED = {
    "bits_per_byte_held_out": ("Bits per byte, held-out", "static: the network alone and frozen, on data it does not learn"),
    "bits_per_byte": ("Bits per byte, in training", "the network alone, on the batch that it learned in this step"),
    "bits_per_byte_mixed": ("Bits per byte, mixed", "online: with context mixing, each byte predicted before it is learned"),
    "k": ("K", "negentropy of its predictions, 0 to 1: how sure it is"),
    "c": ("C", "complexity of what it predicts, 0 to 1: how much is no repetition"),
    "s": ("S", "symbiosis, 0 to 1: how much what it predicts is like its training data"),
}
"""By their names in a checkpoint's record: what a card calls them, and by which protocol they were measured."""
_SIZES = ("d_model", "num_layers", "nhead", "max_seq_len", "quantized")


def card_of(info: CheckpointInfo, header: Mapping[str, Any], program: str, license_id: str | None) -> str:
    """The card, Markdown with YAML before it, of a checkpoint with this header; `program`: the version that pushes it."""
    config = EngineConfig.model_validate(header["config"])
    front = ["library_name: bitlm", "tags:", "- bitlm", f"- {config.model.architecture}"]
    front += [f"license: {license_id}"] if license_id else []
    return "\n".join(["---", *front, "---", "", f"# {info.name}", "", *_body(info, header, config, program), ""])


def _body(info: CheckpointInfo, header: Mapping[str, Any], config: EngineConfig, program: str) -> Iterator[str]:
    yield "A model of bytes made with bitlm: `bitlm pull OWNER/NAME NAME`, or the tool `pull_checkpoint`, brings it back, and"
    yield "`load_checkpoint` makes a model of it that goes on where this one stood. It holds tensors and JSON, and no code."
    yield ""
    yield from _table(("What", "Value"), _facts(info, header, config, program))
    yield ""
    figures = list(_figures(info, header))
    if figures:
        yield "Measured while it was trained:"
        yield ""
        yield from _table(("Figure", "Value", "At step", "How"), figures)
    else:
        yield "Nothing was measured of it yet."


def _facts(info: CheckpointInfo, header: Mapping[str, Any], config: EngineConfig, program: str) -> Iterator[tuple[str, object]]:
    yield "Architecture", config.model.architecture
    if config.model.has_network:
        yield "Parameters", f"{count_parameters(config.model):,}"
        for name in _SIZES:
            value = getattr(config.model, name)
            if value is not None:
                yield f"`{name}`", value
    yield "Context mixing", "yes" if config.mixing else "no"
    yield "Steps", f"{info.step:,}"
    yield "Seed", config.seed
    for digest, count in header.get("read_to", {}).items():
        yield "Data read by context mixing", f"{count:,} bytes of `{digest}`"
    yield "SHA-256 of the checkpoint", f"`{info.sha256}`"
    yield "Saved", info.saved_at
    yield "Checkpoint format", VERSION
    yield "Pushed with", f"bitlm {program}"


def _figures(info: CheckpointInfo, header: Mapping[str, Any]) -> Iterator[tuple[object, ...]]:
    """The last measured value of each, from the record; where that has none, from what the store says of it."""
    found: dict[str, tuple[float, int]] = {}
    for point in header.get("history", ()):
        found |= {name: (point[name], point["step"]) for name in MEASURED if point.get(name) is not None}
    held_out = info.summary.get("bits_per_byte_held_out")
    if held_out is not None:
        found["bits_per_byte_held_out"] = held_out, info.step
    if header["config"]["model"]["architecture"] == "mix":  # what a training reports is context mixing's
        found.pop("bits_per_byte", None)
    for name, (title, how) in MEASURED.items():
        if name in found:
            value, step = found[name]
            yield title, f"{value:.4f}", step, how


def _table(titles: tuple[str, ...], rows: Iterable[tuple[object, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(titles)} |"
    yield f"|{'---|' * len(titles)}"
    for row in rows:
        yield f"| {' | '.join(map(str, row))} |"
