"""Cases: what learned models are good for: decoded, quantised, repairing, watched, and kept safe."""

from __future__ import annotations

from bitlm_mcp.bench_all.derived import cost_of_rounding, weakest_catch
from bitlm_mcp.bench_all.plan import BPB, BYTES_S, SHAKESPEARE, SHARE, Case, Figure, high, low

SIZES = {"0.8M": (20_000, 50_000), "5M": (5_000, 12_000), "25M": (600, 1_500)}
"""Of networks that are decoded: limit and goal of bytes per second in int8."""


def _speeds() -> tuple[Figure, ...]:
    found = []
    for size, (limit, goal) in SIZES.items():
        found += [
            high(f"bytes_per_second_int8_{size}", f"{size} parameters, int8", BYTES_S, limit, goal),
            high(f"bytes_per_second_{size}", f"{size}, fp32", BYTES_S),
            high(f"bytes_per_second_mixing_int8_{size}", f"{size}, int8 with context mixing", BYTES_S),
            high(f"bytes_per_second_torch_{size}", f"{size}, PyTorch fp32 beside it", BYTES_S),
            low(f"max_logit_difference_{size}", f"{size}, largest difference of a logit from PyTorch", "", 1e-4),
        ]
    return tuple(found)


MODELS: tuple[Case, ...] = (
    Case(
        "generate",
        "generate",
        "Bytes per second of decoding on one thread, batch 1.",
        _speeds(),
        90,
        "--parameters 0.8M,5M,25M",
        alone=True,
    ),
    Case(
        "weights",
        "weights",
        "What int8 weights cost a network that has learned for 30 CPU seconds.",
        (
            low("int8_cost", "network alone", BPB, 0.01),
            low("bpb_float32", "fp32", BPB),
            low("bpb_online_int8", "int8 with context mixing", BPB),
        ),
        60,
        "--seconds 30 --preset tiny",
        SHAKESPEARE,
    ),
    Case(
        "quantize",
        "quantize",
        "Models that are int8 or int4 altogether, after 60 CPU seconds.",
        (
            low("cost_int8", "bits per byte more than fp32, int8", BPB, 0.01),
            low("cost_int4", "int4 with steps of learning, against as many of fp32", BPB, 0.03),
            low("file_ratio_int8", "file, int8", "×", 0.30),
            low("file_ratio_int4", "file, int4", "×", 0.18),
            high("bytes_per_second_int8", "decoding, int8", BYTES_S),
            high("bytes_per_second_float32", "decoding, fp32", BYTES_S),
        ),
        130,
        "--seconds 60 --qat-steps 100",
        SHAKESPEARE,
        derive=cost_of_rounding,
    ),
    Case(
        "repair-text",
        "repair",
        "A text's last tenth, 1 % of it damaged; context mixing has learned what is before it.",
        (
            high("exact", "restored at known places", SHARE, 0.88, 0.90),
            high("precision", "of what is proposed at unknown places, damaged", SHARE),
            high("recall", "of what is damaged at unknown places, found", SHARE),
        ),
        60,
        "",
        SHAKESPEARE,
    ),
    Case(
        "repair-binary",
        "repair",
        "The same of an object file.",
        (high("exact", "restored at known places", SHARE, 0.78), high("recall", "found at unknown places", SHARE)),
        30,
        "--data {obj2}",
    ),
    Case(
        "telemetry",
        "telemetry",
        "What K, C, S at every step and looks at attention cost, and how well drift is found.",
        (
            low("kcs_share", "K, C, S at every step", SHARE, 0.005),
            low("attention_share", "looks at attention", SHARE, 0.03),
            low("drift_false_alarms", "false alarms in 1,000 healthy runs", "", 0),
            high("drift_found", "of 1,000 shifts, found", "", 1000),
        ),
        20,
        data=SHAKESPEARE,
        alone=True,
    ),
    Case(
        "safety",
        "safety",
        "What the calibrated gate passes and catches at 512 bytes, after 60 CPU seconds.",
        (
            high("passed_healthy", "healthy outputs passed", SHARE, 0.99),
            high("caught_least", "of the worst sick kind, caught", SHARE, 0.95),
            high("passed_healthy_by_default_floors", "healthy passed by default floors", SHARE),
        ),
        190,
        "--seconds 60 --healthy 200 --sick 40 --other {inspect.py}",
        SHAKESPEARE,
        derive=weakest_catch,
    ),
)
