"""The gate: collapse and foreign bytes are caught, good text passes, little is not judged."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import Floors, SafetyGateError, bytes_to_bits
from bitlm_core.safety.gate import enforce, judge
from bitlm_core.telemetry import byte_histogram


def test_real_text_passes(text: bytes) -> None:
    verdict = judge(bytes_to_bits(text[1000:1200]), byte_histogram(text), Floors())
    assert verdict.passed and verdict.judged and verdict.reasons == ()


@pytest.mark.parametrize(("data", "metric"), [(b"a" * 200, "C="), (bytes(range(128, 256)), "S=")])
def test_collapse_and_foreign_bytes_fail(text: bytes, data: bytes, metric: str) -> None:
    verdict = judge(bytes_to_bits(data), byte_histogram(text), Floors())
    assert not verdict.passed and any(reason.startswith(metric) for reason in verdict.reasons)
    with pytest.raises(SafetyGateError) as caught:
        enforce(verdict, "strict")
    assert caught.value.verdict == verdict
    enforce(verdict, "warn")


def test_a_group_that_does_not_add_up_fails(text: bytes) -> None:
    bits = bytes_to_bits(text[1000:1200])
    bits[8] ^= 1
    verdict = judge(bits, byte_histogram(text), Floors())
    assert verdict.reasons == ("valid parity groups=0.995 is below its floor 1",)
    assert judge(bits, byte_histogram(text), Floors(valid_groups=0.99)).passed


def test_too_little_is_not_judged(text: bytes) -> None:
    for data, reference in ((b"a" * 63, byte_histogram(text)), (b"a" * 100, np.zeros(256))):
        verdict = judge(bytes_to_bits(data), reference, Floors())
        assert verdict.passed and not verdict.judged and verdict.k is None
