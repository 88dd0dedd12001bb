"""`bitlm bench repair`: how much of damaged data comes back."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

import bitlm_core
from bitlm_mcp.bench_reports import Json, report_of, tell
from bitlm_mcp.demo import default_text


def repair(
    data: Annotated[Path | None, typer.Option(help="File to damage.", show_default="Python's language reference")] = None,
    train_share: Annotated[float, typer.Option(min=0, max=0.999, help="Learned first; the rest is damaged.")] = 0.9,
    rate: Annotated[float, typer.Option(min=1e-6, max=1, help="Share of damaged bytes.")] = 0.01,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 180.0,
    architecture: Annotated[Literal["mix", "byte", "bit"], typer.Option(help="mix: context mixing, no network.")] = "mix",
    preset: Annotated[Literal["tiny", "small", "base"] | None, typer.Option(help="Sizes of the network [small].")] = None,
    objective: Annotated[
        Literal["causal", "mixed"], typer.Option(help="mixed: masked diffusion too, which then names candidates.")
    ] = "causal",
    networks: Annotated[Literal["shared", "own"] | None, typer.Option(help="Of mixed: one, or two.")] = None,
    mixing_memory_mib: Annotated[int, typer.Option(min=8, max=1024, help="Memory of context mixing.")] = 128,
    adaptive: Annotated[bool, typer.Option(help="Context mixing learns the damaged data too.")] = True,
    margin_bits: Annotated[
        float, typer.Option(min=0, max=1000, help="By how much a proposal at an unknown place is better.")
    ] = bitlm_core.MARGIN_BITS,
    seed: Annotated[int, typer.Option(min=0, help="Of the damage.")] = 0,
    json_only: Json = False,
) -> None:
    """Damage a part of a file at random and repair it: bytes restored at told places, precision and recall at unknown ones."""
    content = data.read_bytes() if data else default_text()
    config = bitlm_core.EngineConfig(
        model=bitlm_core.preset_config(preset, architecture, diffusion=networks),
        mixing=bitlm_core.MixingConfig(memory_mib=mixing_memory_mib),
    )
    trial = bitlm_core.RepairTrial(train_share, rate, seconds, adaptive, margin_bits, seed, objective)
    steps = bitlm_core.repair_bench_steps(content, config, trial)
    tell(report_of(steps, "repairing").flat(), json_only)
