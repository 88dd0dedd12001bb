"""Figures that follow from those a benchmark tells: differences and ratios in which its bounds are written."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import geometric_mean
from typing import Any

from bitlm_mcp.bench_all.peers import LPAQ1
from bitlm_mcp.bench_all.plan import Found

_MIB = 1 << 20


def flat(told: Mapping[str, Any], before: str = "") -> dict[str, Any]:
    """What is told in levels, in one: `files.obj2.bpb`. Lists are left out, and what is no finite number is nothing."""
    found: dict[str, Any] = {}
    for name, value in told.items():
        if isinstance(value, Mapping):
            found |= flat(value, f"{before}{name}.")
        elif isinstance(value, float) and not math.isfinite(value):
            found[before + name] = None
        elif value is None or isinstance(value, int | float | str):
            found[before + name] = value
    return found


def share_of_lpaq1(found: Found) -> Found:
    """Of the files whose figure with lpaq1 is known: the geometric mean against it; of all files speed and memory."""
    names = [name[len("files.") : -len(".bpb")] for name in found if name.startswith("files.") and name.endswith(".bpb")]
    ratios = [found[f"files.{name}.bpb"] / LPAQ1[name] for name in names if name in LPAQ1]
    num_bytes = sum(found[f"files.{name}.num_bytes"] for name in names)
    seconds = sum(found[f"files.{name}.seconds"] for name in names)
    lost = {f"lpaq1.{name}.bpb": LPAQ1[name] for name in names if name in LPAQ1}
    return lost | {
        "ratio_to_lpaq1": round(geometric_mean(ratios), 4),
        "bytes_per_second": round(num_bytes / seconds),
        "peak_mib": round(max(found[f"files.{name}.peak_bytes"] for name in names) / _MIB),
    }


def cost_of_rounding(found: Found) -> Found:
    """Bits per byte that int8 and int4 cost: int4 with steps of learning against as many steps of exact weights."""
    return {
        "cost_int8": round(found["bpb_int8"] - found["bpb_float32"], 4),
        "cost_int4": round(found["bpb_int4_qat"] - found["bpb_float32_trained_on"], 4),
    }


def behind_final_size(found: Found) -> Found:
    """Bits per byte that the network that grew is behind its final size trained from the start."""
    return {"behind": round(found["bpb_progressive"] - found["bpb_final"], 4)}


def student_behind_alone(found: Found) -> Found:
    """Bits per byte that the student is behind the same sizes trained without a teacher."""
    return {"behind_alone": round(found["bpb_student"] - found["bpb_alone"], 4)}


def weakest_catch(found: Found) -> Found:
    """The least share caught of any sick kind."""
    return {"caught_least": min(value for name, value in found.items() if name.startswith("caught_") and value is not None)}
