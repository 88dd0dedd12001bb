"""What a sequence, a model and a run look like in numbers.

    metrics.py    K (negentropy), C (LZ76 complexity), S (symbiosis), transition rate, the composite score
    drift.py      which of these moved between two windows of a run

Nothing here judges: floors and verdicts belong to `bitlm_core.safety`.
"""

from bitlm_core.telemetry.drift import DriftAlert, DriftDetector, DriftState
from bitlm_core.telemetry.metrics import (
    SequenceMetrics,
    byte_histogram,
    composite_score,
    lz_complexity,
    measure_bits,
    negentropy_of_bits,
    negentropy_of_logits,
    symbiosis,
    symbiosis_kl,
    transition_rate,
)

__all__ = [
    "DriftAlert",
    "DriftDetector",
    "DriftState",
    "SequenceMetrics",
    "byte_histogram",
    "composite_score",
    "lz_complexity",
    "measure_bits",
    "negentropy_of_bits",
    "negentropy_of_logits",
    "symbiosis",
    "symbiosis_kl",
    "transition_rate",
]
