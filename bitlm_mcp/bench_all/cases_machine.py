"""Cases: what the machine and the server make of it."""

from __future__ import annotations

from bitlm_mcp.bench_all.plan import SHARE, Case, Figure, high, low

SCALING = "Steps of two processes with eight windows each, against those of one process with eight; preset {}."
DDP = (
    high("ddp_efficiency", "the network in both (ddp)", SHARE, 0.85),
    high("ddp_expected", "expected of ddp, from the exchange alone", SHARE),
)

MACHINE: tuple[Case, ...] = (
    Case(
        "train",
        "train",
        "Training throughput of the preset small, and the share of the machine's own matrix products.",
        (
            high("gemm_share", "share of the bf16 matrix product", SHARE, 0.40, 0.50),
            high("bytes_per_second", "trained", "bytes/CPU-s"),
        ),
        15,
        "--batch-size 8,16 --steps 10",
        alone=True,
    ),
    Case(
        "memory",
        "memory",
        "Activations of 24 layers against those of 4, in training.",
        (low("activation_ratio_24_to_4", "reversible", "×", 1.1), low("plain_ratio_24_to_4", "plain", "×")),
        15,
    ),
    Case(
        "long",
        "long",
        "What a position costs in a context of 128 k positions, against one of 4 k.",
        (
            low("cost_ratio_128k_to_4k", "time of training", "×", 1.15),
            low("answer_ratio_128k_to_4k", "time of an answer", "×"),
            low("memory_ratio_128k_to_4k", "memory", "×", 1.05),
        ),
        140,
        "--rounds 1",
        alone=True,
    ),
    Case(
        "defaults",
        "defaults",
        "Settings that train fastest on this machine.",
        (
            high("bytes_per_second", "trained", "bytes/s"),
            Figure("batch_size", "windows per step"),
            Figure("threads", "threads"),
        ),
        35,
        alone=True,
    ),
    Case(
        "serve",
        "serve",
        "What a tool call costs beyond the SDK's own empty tool, and a start.",
        (
            low("overhead_ms", "per call beyond the SDK", "CPU-ms", 0.5),
            low("list_models_ms", "list_models", "CPU-ms"),
            low("start_to_end_cpu_s", "start, tools/list and end", "CPU-s", 2.0),
            low("tools_list_bytes", "tools/list", "bytes", 20_000),
        ),
        15,
        alone=True,
    ),
    Case(
        "scaling-small",
        "scaling",
        SCALING.format("small"),
        DDP,
        30,
        "--parallel ddp",
        alone=True,
    ),
    Case(
        "scaling-base",
        "scaling",
        SCALING.format("base"),
        (
            *DDP,
            high("fsdp_efficiency", "a shard in each (fsdp)", SHARE),
            high("pipeline_efficiency", "half of the blocks in each (pipeline)", SHARE),
        ),
        140,
        "--preset base",
        alone=True,
    ),
    Case(
        "pages",
        "pages",
        "What 50 open pages cost a training beside them, and how soon they hear of a step.",
        (
            low("lost_cpu_percent_median", "training lost, by CPU time", "%", 5),
            low("lost_wall_percent_median", "training lost, by the clock", "%", 5),
            low("event_ms_median", "from a step to the read of its event", "ms"),
            low("event_ms_p95", "the same, p95", "ms"),
        ),
        75,
        "--turns 16 --seconds 2",
        alone=True,
    ),
)
