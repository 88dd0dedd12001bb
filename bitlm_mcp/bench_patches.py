"""`bitlm bench patches`: byte-latent networks beside a byte network."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import BenchError, Json, Preset, report_of, show_table, tell, values_of
from bitlm_mcp.demo import default_text

SHOWN = {
    "bpb": "bpb",
    "train B/s": "train_bytes_per_second",
    "FLOPs/B": "flops_per_byte",
    "draw B/s": "generate_bytes_per_second",
    "parameters": "parameters_outside_tables",
    "mean patch": "mean_patch_size",
}
"""Columns of the table."""
Layers = Annotated[int | None, typer.Option(min=1, max=128, help="Of patch networks.")]
Width = Annotated[int | None, typer.Option(min=16, max=8192, help="Of patch networks.")]
Rows = Annotated[int | None, typer.Option(min=0, max=1 << 20, help="Of each table of n-grams, of patch networks.")]
Window = Annotated[int | None, typer.Option(min=16, max=131_072, help="Bytes in a window, of all networks.")]
Windows = Annotated[int | None, typer.Option(min=1, max=4096, help="Windows per step, of all networks.")]


def patches(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds for each network.")] = 180.0,
    sizes: Annotated[str, typer.Option(help="Mean bytes per patch; several with commas.")] = "1,2,4,8",
    variants: Annotated[str, typer.Option(help="plain, no-ngrams, differential, memory; with commas.")] = "plain",
    preset: Preset = "small",
    patching: Annotated[Literal["entropy", "fixed"], typer.Option(help="What ends a patch.")] = "entropy",
    global_layers: Layers = None,
    encoder_layers: Layers = None,
    decoder_layers: Layers = None,
    hidden_size: Width = None,
    local_width: Width = None,
    ngram_vocab_size: Rows = None,
    max_seq_len: Window = None,
    batch_size: Windows = None,
    json_only: Json = False,
) -> None:
    """Train byte and patch networks for equal CPU seconds at equal parameters: bpb of the last 10 % of a file, and speeds.

    Equal are the parameters outside hashed tables, within 5 %: the inner width of the blocks over patches follows from that.
    """
    layers = _given(global_layers=global_layers, encoder_layers=encoder_layers, decoder_layers=decoder_layers)
    trial = bitlm_core.PatchTrial(
        seconds=seconds,
        sizes=tuple(values_of(sizes, _size)),
        variants=tuple(values_of(variants, str)),
        preset=preset,
        fixed=patching == "fixed",
        of_patches=layers | _given(hidden_size=hidden_size, local_width=local_width, ngram_vocab_size=ngram_vocab_size),
        of_all=_given(max_seq_len=max_seq_len),
        training=bitlm_core.TrainingConfig(**_given(batch_size=batch_size)),
    )
    steps = bitlm_core.patch_bench_steps(data.read_bytes() if data else default_text(), trial)
    found = report_of(steps, "learning")
    if not json_only:
        show_table([_row(network) for network in found.networks])
    tell({**found.flat(), "preset": preset, "patching": patching}, json_only=True)


def _row(network: Any) -> tuple[dict[str, Any], dict[str, float]]:
    """A byte network's patches are its bytes."""
    return {"network": network.name}, {name: getattr(network, field) or 1.0 for name, field in SHOWN.items()}


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _size(text: str) -> float:
    try:
        size = float(text)
    except ValueError:
        size = 0.0
    if not 1 <= size <= 256:
        raise BenchError(f"{text!r} is no size of patches: give mean bytes from 1 to 256, several with commas between them")
    return size
