"""`bitlm bench learn|train|memory|long|halting|defaults|serve`: what a machine, a network and a server can do."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import anyio
import typer

import bitlm_core
from bitlm_mcp.bench import measure_serving
from bitlm_mcp.bench_fleet import measure_fleet
from bitlm_mcp.bench_reports import (
    Architecture,
    BenchError,
    Json,
    Preset,
    listed,
    only_of_mixed,
    report_of,
    show_table,
    tell,
    values_of,
    whole_number,
)
from bitlm_mcp.demo import default_text

Threads = Annotated[str, typer.Option(help="Compute threads; several with commas.")]
Windows = Annotated[str, typer.Option("--max-seq-len", help="Positions in a window; several with commas.")]
Chunks = Annotated[str, typer.Option("--chunk-size", help="Positions in a chunk; several with commas, 0: full attention.")]
Reversible = Annotated[str, typer.Option(help="true, false, or both with a comma.")]
UseAct = Annotated[str, typer.Option(help="true, false, or both with a comma.")]
UseCheckpoint = Annotated[str, typer.Option(help="true, false, or both with a comma.")]
Dtype = Annotated[str, typer.Option(help="bfloat16, float32, or both with a comma.")]
BatchSize = Annotated[str, typer.Option(help="Windows per step; several with commas.")]
Device = Annotated[Literal["cpu", "cuda"], typer.Option(help="Where to compute; cuda counts wall seconds.")]
Steps = Annotated[int, typer.Option(min=2, max=10_000, help="Steps per case.")]


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise BenchError(f"{text!r} is neither true nor false")
    return text == "true"


def _dtype(text: str) -> bool:
    if text not in ("bfloat16", "float32"):
        raise BenchError(f"{text!r} is neither bfloat16 nor float32")
    return text == "bfloat16"


def _ranges(
    max_seq_len: str, chunk_size: str, reversible: str, use_act: str, use_checkpoint: str, dtype: str
) -> dict[str, list[Any]]:
    return {
        "max_seq_len": values_of(max_seq_len, whole_number),
        "chunk_size": values_of(chunk_size, whole_number),
        "reversible": values_of(reversible, _switch),
        "use_act": values_of(use_act, _switch),
        "use_checkpoint": values_of(use_checkpoint, _switch),
        "use_autocast": values_of(dtype, _dtype),
    }


def learn(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 180.0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Compute threads.")] = 1,
    architecture: Annotated[Literal["byte", "bit", "mix"], typer.Option(help="mix: context mixing, no network.")] = "byte",
    preset: Annotated[Literal["tiny", "small", "base"] | None, typer.Option(help="Sizes of the network [small].")] = None,
    mixing: Annotated[bool, typer.Option(help="Context mixing beside the network.")] = True,
    mixing_memory_mib: Annotated[int, typer.Option(min=8, max=1024, help="Memory of context mixing.")] = 128,
    optimizer: Annotated[Literal["muon", "adamw"] | None, typer.Option(help="Of the blocks' matrices.")] = None,
    batch_size: Annotated[int | None, typer.Option(min=1, max=4096, help="Windows per step.")] = None,
    learning_rate: Annotated[float | None, typer.Option(min=1e-9, max=1, help="Peak of the schedule.")] = None,
    device: Device = "cpu",
    objective: Annotated[Literal["causal", "mixed"], typer.Option(help="mixed: masked diffusion in the same time.")] = "causal",
    networks: Annotated[Literal["shared", "own"] | None, typer.Option(help="Of mixed: one, or two.")] = None,
    peer: Annotated[Literal["nanogpt"] | None, typer.Option(help="Train this one too, for the same CPU seconds.")] = None,
    peer_path: Annotated[Path | None, typer.Option(help="Checkout of the peer; its model.py is executed.")] = None,
    json_only: Json = False,
) -> None:
    """Learn the first 90 % of a file for some CPU seconds, and score the rest: bits per byte, by protocol.

    Beside it what gzip, bzip2 and xz make of the rest, given those 90 %.
    """
    if (peer is None) != (peer_path is None):
        raise BenchError("--peer and --peer-path belong together: give both, or neither")
    only_of_mixed(objective, networks)
    content = data.read_bytes() if data else default_text()
    settings = {"optimizer": optimizer, "batch_size": batch_size, "learning_rate": learning_rate}
    config = bitlm_core.EngineConfig(
        model=bitlm_core.preset_config(preset, architecture, diffusion=networks),
        training=bitlm_core.TrainingConfig.model_validate({name: given for name, given in settings.items() if given}),
        mixing=bitlm_core.MixingConfig(memory_mib=mixing_memory_mib) if mixing else None,
    )
    own = bitlm_core.learn_steps(content, config, seconds=seconds, threads=threads, device=device, objective=objective)
    theirs: dict[str, Any] = {}
    if peer_path is not None:  # first, for whether it runs to its end is not in our hands
        steps = bitlm_core.nanogpt_steps(peer_path, content, seconds=seconds, threads=threads)
        theirs = report_of(steps, str(peer)).flat()
    found = report_of(own, "learning").flat()
    beside = {f"bpb_{name}": round(value, 4) for name, value in bitlm_core.compressors_given_the_rest(content).items()}
    tell({**found, **beside, **theirs}, json_only)


def train(
    preset: Preset = "small",
    architecture: Architecture = "byte",
    max_seq_len: Windows = "",
    chunk_size: Chunks = "",
    reversible: Reversible = "",
    use_act: UseAct = "",
    use_checkpoint: UseCheckpoint = "",
    dtype: Dtype = "",
    threads: Threads = "1",
    batch_size: BatchSize = "",
    compiled: Annotated[bool, typer.Option("--compile", help="torch.compile the sub-blocks.")] = False,
    device: Device = "cpu",
    steps: Steps = 20,
    json_only: Json = False,
) -> None:
    """Measure training: bytes per second and the share of the machine's matrix products. The JSON is of the fastest case."""
    ranges = _ranges(max_seq_len, chunk_size, reversible, use_act, use_checkpoint, dtype)
    ranges |= {"threads": values_of(threads, whole_number), "batch_size": values_of(batch_size, whole_number)}
    cases = list(bitlm_core.grid(preset, architecture, ranges, {"compile": compiled}))
    speeds = listed(bitlm_core.train_speeds(cases, steps=steps, device=device), len(cases))
    columns = ("bytes_per_second", "step_ms", "gemm_gflops", "gemm_share")
    if not json_only:
        show_table([(dict(speed.case.named), {name: getattr(speed, name) for name in columns}) for speed in speeds])
    best = max(speeds, key=lambda speed: speed.bytes_per_second)
    figures = {name: round(getattr(best, name), 4) for name in columns}
    shown = {"preset": preset, "architecture": architecture, **best.case.named}
    shown |= {"threads": best.case.threads, "batch_size": best.case.training.batch_size}
    tell({**figures, **shown, "num_parameters": best.num_parameters, "machine": bitlm_core.describe(device)}, json_only=True)


def memory(
    preset: Preset = "small",
    architecture: Architecture = "byte",
    max_seq_len: Windows = "2048",
    chunk_size: Chunks = "128",
    reversible: Reversible = "true,false",
    use_act: UseAct = "",
    use_checkpoint: UseCheckpoint = "",
    dtype: Dtype = "",
    batch_size: BatchSize = "1",
    json_only: Json = False,
) -> None:
    """Measure activations in training: bytes alive at once, and how they grow from 4 to 24 layers, reversibly and plainly."""
    ranges = _ranges(max_seq_len, chunk_size, reversible, use_act, use_checkpoint, dtype)
    ranges |= {"batch_size": values_of(batch_size, whole_number)}
    cases = list(bitlm_core.grid(preset, architecture, ranges))
    found = listed(bitlm_core.activations(cases), len(cases))
    if not json_only:
        own = [{"activation_mib": row.activation_bytes / 2**20, "ratio_24_to_4": row.ratio} for row in found]
        show_table([(dict(row.case.named), figures) for row, figures in zip(found, own, strict=True)])
    reversibly, plainly = bitlm_core.depth_ratios(cases[0])
    ratios = {"activation_ratio_24_to_4": round(reversibly, 4), "plain_ratio_24_to_4": round(plainly, 4)}
    shown = {"preset": preset, "architecture": architecture, "machine": bitlm_core.describe()}
    tell({**ratios, **shown}, json_only=True)


def long_context(
    preset: Preset = "small",
    architecture: Architecture = "byte",
    chunk_size: Annotated[int, typer.Option(min=1, max=131_072, help="Positions in a chunk of attention.")] = 128,
    reversible: Annotated[bool, typer.Option(help="Activations flat in depth.")] = True,
    rounds: Annotated[int, typer.Option(min=1, max=100, help="How often each length takes its turn.")] = 3,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Compute threads.")] = 1,
    json_only: Json = False,
) -> None:
    """Measure what a position costs in contexts of 4 k to 128 k positions, in time and memory."""
    fixed = {"chunk_size": chunk_size, "reversible": reversible, "threads": threads}
    (case,) = bitlm_core.grid(preset, architecture, {}, fixed)
    costs = report_of(bitlm_core.long_costs(case, rounds=rounds), "contexts")
    figures = ("train_us", "answer_us", "bytes_per_position")
    if not json_only:
        show_table([({"positions": cost.positions}, {name: getattr(cost, name) for name in figures}) for cost in costs])
    short, long = costs[0], costs[-1]
    ratios = {
        "cost_ratio_128k_to_4k": round(long.train_us / short.train_us, 4),
        "answer_ratio_128k_to_4k": round(long.answer_us / short.answer_us, 4),
        "memory_ratio_128k_to_4k": round(long.bytes_per_position / short.bytes_per_position, 4),
    }
    shown = {"preset": preset, "architecture": architecture, "machine": bitlm_core.describe()}
    tell({**ratios, **shown}, json_only=True)


def halting(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    preset: Preset = "small",
    num_layers: Annotated[int, typer.Option(min=1, max=128, help="Layers of both networks.")] = 6,
    ponder_cost: Annotated[float, typer.Option(min=0, max=10, help="Nats per layer: more is faster.")] = 0.01,
    steps: Annotated[int, typer.Option(min=2, max=1_000_000, help="Steps that both learn for.")] = 200,
    json_only: Json = False,
) -> None:
    """Measure halting: layers and time of a step, and bits per byte, beside the same network without it."""
    content = data.read_bytes() if data else default_text()
    found = bitlm_core.halting_steps(content, preset, num_layers=num_layers, ponder_cost=ponder_cost, steps=steps)
    tell(report_of(found, "learning").flat(), json_only)


def defaults(preset: Preset = "small", steps: Steps = 8, json_only: Json = False) -> None:
    """Choose settings that are fast and safe on this machine: threads, dtype, and the longest window that fits."""
    speeds: list[Any] = []
    for found in bitlm_core.choose_defaults(preset, steps=steps):
        if isinstance(found, bitlm_core.Defaults):
            if not json_only:
                show_table([(dict(speed.case.named), {"bytes_per_second": speed.bytes_per_second}) for speed in speeds])
            tell(found.flat(), json_only)
        else:
            speeds.append(found)


def serve(
    context: typer.Context,
    turns: Annotated[int, typer.Option(min=3, max=10_000, help="How often each side takes its turn.")] = 50,
    processes: Annotated[int, typer.Option(min=1, max=64, help="Also calls per second of so many beside one.")] = 1,
    seconds: Annotated[float, typer.Option(min=0.1, max=600, help="With --processes: of each measurement.")] = 5.0,
    json_only: Json = False,
) -> None:
    """Measure what a call costs beyond the SDK's own empty tool, and what a start costs: CPU time."""
    found: dict[str, Any] = dict(anyio.run(measure_serving, turns, context.obj).flat())
    if processes > 1:
        found |= anyio.run(measure_fleet, processes, seconds, context.obj).flat()
    tell(found, json_only)
