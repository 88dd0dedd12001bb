"""What is told of an output that failed: what was seen in it, and what to do."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import Floors, bytes_to_bits
from bitlm_core.safety.cause import cause_of
from bitlm_core.safety.floors import Check
from bitlm_core.safety.gate import judge
from bitlm_core.telemetry import byte_histogram

NOISE = np.random.default_rng(0).integers(0, 256, 200, dtype=np.uint8).tobytes()


@pytest.mark.parametrize(
    ("data", "kind", "seen"),
    [
        (b"a" * 195 + b"bcdef", "one byte", "(0x61 'a', 98% of it)"),
        (b"abcd" * 50, "cycle", "a cycle of 4 bytes (0x61626364 'abcd')"),
        (b"x" + b"what is it? " * 20, "cycle", "a cycle of 12 bytes"),
        (NOISE, "noise", "random bytes"),
        ("Été, hiver: où est le château? L'âme légère rêve à l'écart, là-bas.".encode(), "foreign bytes", "(first 0xc3)"),
        (
            " ".join(np.random.default_rng(0).choice(["the", "cat", "sees"], 60)).encode(),
            "little variety",
            "4-byte strings",
        ),
    ],
)
def test_the_cause_is_seen_in_the_bytes(text: bytes, data: bytes, kind: str, seen: str) -> None:
    cause = cause_of(np.frombuffer(data, np.uint8), byte_histogram(bytes(range(128)) + text[:100]))
    assert cause.kind == kind and seen in cause.text


@pytest.mark.parametrize(
    ("metric", "value", "kind"),
    [("S", 0.0, "other data"), ("pair cost", 9.0, "other data"), ("C", 2.0, "noise"), ("C", 0.0, "little variety")],
)
def test_where_nothing_stands_out_the_broken_side_decides(text: bytes, metric: str, value: float, kind: str) -> None:
    check = Check(metric=metric, value=value, low=0.5, high=1.0, session_low=0.5)  # type: ignore[arg-type]
    assert cause_of(np.frombuffer(text[1000:1200], np.uint8), byte_histogram(text), [check]).kind == kind


def test_a_reason_names_metric_value_floor_cause_and_next_call(text: bytes) -> None:
    verdict = judge(bytes_to_bits(b"a" * 200), byte_histogram(text), Floors())
    assert verdict.reasons[0] == (
        "C 0.036 < 0.3: output repeats one byte (0x61 'a', 100% of it); raise temperature or train longer"
    )
