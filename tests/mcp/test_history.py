"""The record of a training: what has to make room, and that no spike does."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise

import pytest

from bitlm_core import Engine
from bitlm_mcp import history
from bitlm_mcp.history import MAX_MARKS, MAX_POINTS, History, thinned
from bitlm_mcp.snapshot import HistoryPoint, Mark, ModelView, recorded


def point(step: int, bits: float = 3.0, k: float | None = None, grad: float = 1.0) -> HistoryPoint:
    return HistoryPoint(step, 2.0, bits, None, grad, 1e-3, k, k, k)


def wavy(count: int) -> list[HistoryPoint]:
    return [point(step, bits=3 + step % 7 / 10, k=0.5 if step % 10 == 0 else None) for step in range(count)]


@pytest.mark.parametrize("limit", [2, 19, 20, 100, 1000])
def test_as_many_as_asked_for_in_order_with_both_ends(limit: int) -> None:
    found = thinned(wavy(3000), limit)
    steps = [one.step for one in found]
    assert len(found) == limit and steps == sorted(set(steps)) and (steps[0], steps[-1]) == (0, 2999)


@pytest.mark.parametrize("at", [1, 777, 1500, 2998])
@pytest.mark.parametrize("limit", [20, 57, 500])
def test_no_spike_is_hidden(at: int, limit: int) -> None:
    for spike in ({"bits_per_byte": 9.0}, {"bits_per_byte": 0.1}, {"grad_norm": 400.0}, {"k": 0.99}, {"s": 0.01}):
        points = wavy(3000)
        points[at] = replace(points[at], **spike)
        assert points[at] in thinned(points, limit), spike


def test_a_long_record_stays_bounded_and_keeps_its_end_and_its_spikes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_POINTS", 200)
    record = History()
    points = [replace(one, grad_norm=500.0) if one.step == 123 else one for one in wavy(5000)]
    for one in points:
        record.add(one)
        assert len(record.points) <= 200 and record.points[-1] is one
    assert points[123] in record.points and record.points[0].step == 0
    assert [one.step for one in record.points[-100:]] == list(range(4900, 5000))
    gaps = [right.step - left.step for left, right in pairwise(record.points)]
    assert min(gaps) >= 1


def test_a_record_made_of_many_points_is_as_bounded() -> None:
    assert len(History.of(wavy(MAX_POINTS + 500), ["a"] * 99).points) == MAX_POINTS


def test_marks_stand_in_the_order_of_their_steps_and_the_oldest_make_room() -> None:
    record = History()
    record.mark([Mark(5, "drift", "c"), Mark(3, "gate", "a"), Mark(4, "drift", "b")])
    assert [mark.text for mark in record.marks] == ["a", "b", "c"]
    record.cut(4)
    assert [mark.text for mark in record.marks] == ["a", "b"]  # what came after is undone
    record.mark_gate([Mark(9, "gate", "d")])
    assert [mark.text for mark in record.marks] == ["b", "d"]
    record.mark(Mark(step, "drift", "more") for step in range(10, 10 + MAX_MARKS))
    assert len(record.marks) == MAX_MARKS and record.marks[0].step == 10


def test_the_last_value_of_each_metric_is_known_without_looking() -> None:
    record = History()
    for one in wavy(25):
        record.add(one)
        assert record.measured == recorded(record.points)
    record.cut(13)
    assert record.measured == recorded(record.points) and record.measured["k"] == 0.5
    view = ModelView("m", "idle", 1, "byte", 1, 1, 0, 64, {}, None, record.points, ())
    assert view.latest("k") == 0.5 and view.latest("attention_entropy") is None


def test_a_record_comes_back_from_a_state_file_and_from_one_of_before_there_were_marks() -> None:
    record = History.of(wavy(20), ["a"], [Mark(2, "drift", "b")])
    header = json.loads(json.dumps(record.plain()))
    assert History.told(header) == record
    del header["marks"]
    assert History.told(header) == replace(record, marks=())


def test_a_state_that_python_wrote_has_an_empty_record(byte_engine: Engine) -> None:
    assert History.told(byte_engine.state()[1]) == History()
