"""The gate: collapse and foreign bytes are caught, good text passes, little is not judged, sessions have averages."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import ConfigError, Floors, Gate, SafetyGateError, Verdict, bytes_to_bits
from bitlm_core.safety.floors import CalibratedFloors, Check, Range
from bitlm_core.safety.gate import enforce, judge
from bitlm_core.safety.session import BURN_IN
from bitlm_core.safety.standard import pair_counts
from bitlm_core.telemetry import byte_histogram, transition_rate

WIDE = Range(low=-1e9, usual=0, high=1e9)


def calibrated(num_bytes: int, **ranges: Range) -> CalibratedFloors:
    return CalibratedFloors(num_bytes=num_bytes, **dict.fromkeys(("k", "c", "s", "pairs", "excess", "cost"), WIDE) | ranges)


def judged_as(value: float, low: float, high: float | None = None) -> Verdict:
    check = Check(metric="C", value=value, low=0, session_low=low, session_high=high)
    return Verdict(passed=True, judged=True, k=0, c=value, s=0, reasons=(), checks=(check,))


def test_real_text_passes(text: bytes) -> None:
    verdict = judge(bytes_to_bits(text[1000:1200]), byte_histogram(text), Floors())
    assert verdict.passed and verdict.judged and verdict.reasons == ()


def test_a_fluent_false_text_passes_for_the_gate_sees_no_meaning() -> None:
    true = b"The Earth goes around the Sun once in a year, and the Moon goes around the Earth once in a month, as people know. "
    false = b"The Sun goes around the Moon once in a month, and the Earth goes around the Moon once in a year, as people know. "
    assert judge(bytes_to_bits(false), byte_histogram(true * 50), Floors()).passed


@pytest.mark.parametrize(("data", "metric"), [(b"a" * 200, "C "), (bytes(range(128, 256)), "S ")])
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
    (reason,) = verdict.reasons
    assert reason.startswith("valid parity groups 0.995 < 1: bits were changed after they were made")
    assert judge(bits, byte_histogram(text), Floors(valid_groups=0.99)).passed


def test_the_legacy_profile_holds_the_transition_rate_against_the_old_floor(text: bytes) -> None:
    reference, bits = byte_histogram(text), {data: bytes_to_bits(data) for data in (b"ab" * 100, b"\0" * 200, text[1000:1200])}
    cycle, zeros, good = (judge(each, reference, Floors(), profile="legacy") for each in bits.values())
    assert [check.metric for check in cycle.checks] == ["K", "transition rate", "S", "valid parity groups"]
    assert cycle.checks[1].value == transition_rate(bits[b"ab" * 100]) > 0.3 == cycle.checks[1].low
    assert not any("C " in reason for reason in cycle.reasons)  # LZ76 would have caught it
    assert judge(bits[b"ab" * 100], reference, Floors()).reasons[0].startswith("C 0.")
    assert zeros.reasons[0].startswith("transition rate 0 < 0.3: output repeats one byte (0x00")
    assert good.passed and good.k is not None
    (broken,) = judge(bits[text[1000:1200]], reference, Floors(k=0.999), profile="legacy").reasons
    assert broken.startswith("K 0.")
    gate = Gate()
    for _ in range(BURN_IN):
        state = gate.observe(zeros)
    assert any(reason.startswith("transition rate averages 0 < 0.3") for reason in state.reasons)


def test_what_was_calibrated_judges_c_under_the_legacy_profile_too(text: bytes) -> None:
    floors = Floors(c=0.2, calibrated=(calibrated(64, c=Range(low=0.5, usual=0.7, high=0.95)),))
    standard, bits = pair_counts(np.frombuffer(text, np.uint8)), bytes_to_bits(b"ab" * 100)
    verdict = judge(bits, byte_histogram(text), floors, standard=standard, profile="legacy")
    assert [(check.metric, check.low) for check in verdict.checks[1:3]] == [("transition rate", 0.2), ("C", 0.5)]
    assert verdict.reasons[0].startswith("C 0.")


def test_too_little_is_not_judged(text: bytes) -> None:
    for data, reference in ((b"a" * 63, byte_histogram(text)), (b"a" * 100, np.zeros(256))):
        verdict = judge(bytes_to_bits(data), reference, Floors())
        assert verdict.passed and not verdict.judged and verdict.k is None


def test_calibrated_ranges_judge_the_end_at_the_longest_length_there_is(text: bytes) -> None:
    rows = (calibrated(64), calibrated(128, c=Range(low=0.2, usual=0.7, high=0.95)))
    floors, reference = Floors(k=0, c=0, s=0, calibrated=rows), byte_histogram(text)
    standard = pair_counts(np.frombuffer(text, np.uint8))
    collapsed = text[1000:1100] + b"a" * 128
    assert judge(bytes_to_bits(collapsed[:127]), reference, floors, standard=standard).passed  # at 64 all is well
    verdict = judge(bytes_to_bits(collapsed), reference, floors, standard=standard)
    assert verdict.c == judge(bytes_to_bits(b"a" * 128), reference, floors, standard=standard).c
    assert [reason[:2] for reason in verdict.reasons] == ["C "]
    noise = bytes(np.random.default_rng(1).integers(0, 256, 128, dtype=np.uint8))
    assert "> 0.95" in judge(bytes_to_bits(noise), reference, floors, standard=standard).reasons[0]
    assert not judge(
        bytes_to_bits(text[1000:1128]), reference, floors.model_copy(update={"c": 0.999}), standard=standard
    ).passed
    with pytest.raises(ConfigError, match="calibrate_floors"):
        judge(bytes_to_bits(collapsed), reference, floors)
    with pytest.raises(ConfigError, match="once, ascending"):
        Floors(calibrated=rows[::-1])


def test_costs_are_judged_over_the_end_where_they_are_known(text: bytes) -> None:
    floors = Floors(k=0, c=0, s=0, calibrated=(calibrated(64, cost=Range(low=1, usual=2, high=3)),))
    standard, bits = pair_counts(np.frombuffer(text, np.uint8)), bytes_to_bits(text[1000:1100])
    reference = byte_histogram(text)
    assert judge(bits, reference, floors, standard=standard).passed
    assert judge(bits, reference, floors, standard=standard, costs=[9.0] * 36 + [2.0] * 64).passed
    (reason,) = judge(bits, reference, floors, standard=standard, costs=[2.0] * 36 + [0.5] * 64).reasons
    assert reason.startswith("own cost 0.5 < 1 bits per byte: output varies less than usual")


def test_a_session_triggers_by_its_average_after_the_burn_in() -> None:
    gate = Gate()
    for number in range(1, BURN_IN):
        state = gate.observe(judged_as(0.2, low=0.3))
        assert not state.triggered and state.num_judged == number and state.averages["C"] == pytest.approx(0.2)
    assert gate.observe(Verdict(passed=True, judged=False, k=None, c=None, s=None, reasons=())).num_judged == BURN_IN - 1
    state = gate.observe(judged_as(0.2, low=0.3))
    assert state.triggered and state.reasons[0].startswith("C averages 0.2 < 0.3 over this session's last outputs")
    recovering = [gate.observe(judged_as(0.9, low=0.3)) for _ in range(3)]
    assert not recovering[-1].triggered


def test_the_average_is_exponential_and_corrected_for_its_start() -> None:
    gate, values = Gate(), [0.5, 0.9, 0.1]
    for value in values:
        state = gate.observe(judged_as(value, low=0))
    expected = (0.5 * 0.81 + 0.9 * 0.9 + 0.1) / (0.81 + 0.9 + 1)
    assert state.averages["C"] == pytest.approx(expected)


def test_a_session_is_held_against_the_average_of_its_limits_on_both_sides() -> None:
    gate = Gate()
    for value, low, high in ((0.4, 0.3, 0.6), (0.8, 0.7, 0.9)) * 10:  # each within its own
        assert not gate.observe(judged_as(value, low, high)).triggered
    above = Gate()
    for _ in range(BURN_IN):
        above.observe(judged_as(0.7, 0.3, None))
        state = above.observe(judged_as(0.7, 0.3, 0.6))
    assert "C averages 0.7 > 0.6" in state.reasons[0]


def test_one_collapsed_output_does_not_trigger_a_session() -> None:
    gate = Gate()
    states = [gate.observe(judged_as(0.01 if number == 15 else 0.7, low=0.3)) for number in range(30)]
    assert not any(state.triggered for state in states)
