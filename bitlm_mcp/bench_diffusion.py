"""`bitlm bench diffusion`: what a network knows that learns by diffusion."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Architecture, Json, Preset, report_of, tell
from bitlm_mcp.demo import default_text

WINDOW_BYTES, BATCH_SIZE = 127, 24
"""Of training: such a window and the symbol before it are two chunks of attention, of which each sees the other. Many
windows for the noise of masks: 8 know 0.06 bits per byte less than 16 after 180 CPU-s."""
NGRAM_ROWS = 16_384
"""Of byte networks, whatever their preset. With large tables narrow networks, which see more in the same time, know more: after
180 CPU-s 2.75 bits per byte with the width of tiny, 2.77 with that of small."""


def diffusion(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds to train for.")] = 180.0,
    objective: Annotated[Literal["diffusion", "mixed"], typer.Option(help="mixed: causally as well.")] = "diffusion",
    networks: Annotated[
        Literal["shared", "own", "plain"] | None,
        typer.Option(help="One, two, or one without tables of neighbours.", show_default="shared; of bits plain"),
    ] = None,
    mask_unit: Annotated[Literal["byte", "bit"], typer.Option(help="What is hidden in training.")] = "byte",
    noise_curriculum: Annotated[bool, typer.Option(help="Hide much at first.")] = False,
    architecture: Architecture = "byte",
    preset: Preset = "tiny",
    num_layers: Annotated[int | None, typer.Option(min=1, max=128, help="Layers of each network; the preset's.")] = None,
    samples: Annotated[bool, typer.Option(help="Judge samples too: as long again, for a causal judge.")] = True,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Compute threads.")] = 1,
    json_only: Json = False,
) -> None:
    """Learn the first 90 % of a file by diffusion; the rest: an upper bound on bits per byte, and holes restored."""
    content = data.read_bytes() if data else default_text()
    networks = networks or ("shared" if architecture == "byte" else "plain")
    kind = None if networks == "plain" else networks
    tables = {"ngram_rows": NGRAM_ROWS} if architecture == "byte" else {}
    config = bitlm_core.EngineConfig(
        model=bitlm_core.preset_config(preset, architecture, diffusion=kind, num_layers=num_layers, **tables),
        training=bitlm_core.TrainingConfig(batch_size=BATCH_SIZE, window_bytes=WINDOW_BYTES),
        mixing=None,
    )
    plan = bitlm_core.TrainingPlan(objective=objective, seconds=seconds, mask_unit=mask_unit, noise_curriculum=noise_curriculum)
    found = report_of(bitlm_core.diffusion_bench_steps(content, config, plan, threads=threads, sampled=samples), "learning")
    shown = {"objective": objective, "networks": networks, "mask_unit": mask_unit, "noise_curriculum": noise_curriculum}
    sizes = {"architecture": architecture, "preset": preset, "num_layers": config.model.num_layers}
    tell({**found.flat(), **shown, **sizes}, json_only)
