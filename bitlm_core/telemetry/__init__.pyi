from .drift import DriftAlert, DriftDetector, DriftState
from .metrics import (
    SequenceMetrics,
    byte_histogram,
    composite_score,
    lz_complexity,
    measure_bits,
    negentropy_of_bits,
    negentropy_of_logits,
    symbiosis,
    symbiosis_by_position,
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
    "symbiosis_by_position",
    "symbiosis_kl",
    "transition_rate",
]
