"""`bitlm bench samples`: how good samples of a diffusion model are, by order and number of steps."""

from __future__ import annotations

from itertools import product
from pathlib import Path
from typing import Annotated, Any

import typer

import bitlm_core
from bitlm_mcp.bench_diffusion import BATCH_SIZE, NGRAM_ROWS, WINDOW_BYTES
from bitlm_mcp.bench_reports import BenchError, Json, Preset, show_table, tell, values_of, whole_number
from bitlm_mcp.demo import default_text
from bitlm_mcp.shell import progress_bar
from bitlm_mcp.tools.templates import given_sampling

ORDERS = "spread,annealed,confidence,random,flip"
FIGURES = ("bpb", "byte_entropy", "distinct_4grams")


def samples(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=0.1, max=86_400, help="CPU seconds for each of two networks.")] = 180.0,
    orders: Annotated[str, typer.Option(help="In which bytes are revealed, or flip; several with commas.")] = ORDERS,
    steps: Annotated[str, typer.Option(help="Passes per sample; several with commas.")] = "16",
    temperature: Annotated[str, typer.Option(help="Of the draws; several with commas.")] = "",
    preset: Preset = "tiny",
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Compute threads.")] = 1,
    json_only: Json = False,
) -> None:
    """Draw by diffusion, judge by a causal network: bits per byte, byte entropy, distinct 4-grams. JSON: the first way."""
    content = data.read_bytes() if data else default_text()
    config = bitlm_core.EngineConfig(
        model=bitlm_core.preset_config(preset, ngram_rows=NGRAM_ROWS, diffusion="shared"),
        training=bitlm_core.TrainingConfig(batch_size=BATCH_SIZE, window_bytes=WINDOW_BYTES),
        mixing=None,
    )
    ways = product(values_of(orders, str), values_of(steps, whole_number), values_of(temperature, _heat))
    found: list[dict[str, Any]] = []
    with progress_bar() as bar:
        task = bar.add_task("learning, then drawing", total=1.0)
        asked = [_way(*way) for way in ways]
        for told in bitlm_core.learn_and_sample_steps(content, config, asked, seconds=seconds, threads=threads):
            if isinstance(told, float):
                bar.update(task, completed=told)
            else:
                found.append(told.flat())
    if not json_only:
        named = ("order", "steps", "temperature")
        show_table([({name: row[name] for name in named}, {name: row[name] for name in FIGURES}) for row in found])
    text = {f"{name}_of_text": found[0][name] for name in FIGURES}
    tell({**found[1], **text, "seconds": seconds, "machine": bitlm_core.describe()}, json_only=True)


def _way(order: str, steps: int, temperature: float | None) -> bitlm_core.DiffusionSampling:
    how = {"method": "flip"} if order == "flip" else {"order": order}
    return given_sampling(**how, steps=steps, **({} if temperature is None else {"temperature": temperature}))


def _heat(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        raise BenchError(f"{text!r} is no temperature: give numbers from 0 to 10, with commas between them") from None
