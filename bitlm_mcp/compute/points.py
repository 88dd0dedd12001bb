"""What a step's report becomes in the history of a model."""

from __future__ import annotations

import math
from dataclasses import asdict
from typing import TYPE_CHECKING

from bitlm_core import used_memory_bytes
from bitlm_mcp.snapshot import HistoryPoint

if TYPE_CHECKING:
    from bitlm_core import StepReport

_OWN = ("step", "loss", "bits_per_byte", "bits_per_byte_mixed", "grad_norm", "learning_rate")
_OF_SOME = ("mean_layers", "attention_entropy")


def point_of(report: StepReport, seconds: float) -> HistoryPoint:
    """The point of a step that took so long; what it did not measure is None."""
    measured = asdict(report.telemetry) if report.telemetry else dict.fromkeys(("k", "c", "s"))
    return HistoryPoint(
        **{name: getattr(report, name) for name in (*_OWN, *_OF_SOME)},
        **measured,
        bits_per_byte_held_out=None if report.held_out_loss is None else report.held_out_loss / math.log(2),
        halt_probs=report.halt_probs or None,
        bytes_per_second=report.num_bytes / seconds if seconds else None,
        memory_bytes=used_memory_bytes(),
    )
