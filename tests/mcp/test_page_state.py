"""What the page is told: all of the state once, and after that no more than what has changed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from bitlm_mcp.activity import Call, ServerProcess
from bitlm_mcp.dashboard import page_state
from bitlm_mcp.dashboard.page_state import change, new_points, whole
from bitlm_mcp.snapshot import CheckpointView, DatasetView, HistoryPoint, JobView, Mark, ModelView, Snapshot


def points(*steps: int, loss: float = 2.0) -> tuple[HistoryPoint, ...]:
    return tuple(HistoryPoint(step, loss, 3.0, None, 1.0, 1e-3, None, None, None) for step in steps)


def model(history: tuple[HistoryPoint, ...] = (), **fields: Any) -> ModelView:
    return replace(ModelView("m", "idle", len(history), "byte", 1, 1, 0, 64, {}, None, history, ()), **fields)


FULL = Snapshot(
    version=1,
    models={"m": model(points(1, 2), marks=(Mark(2, "gate", "withheld"),))},
    jobs={"j": JobView("j", "train_step", "m", "running", 0.5, 5, 10, None, None, 1.0, None, None)},
    datasets={"d": DatasetView("d", 10, 9, 1, "", "text")},
    checkpoints={"c": CheckpointView("c", 5, 100, "", "", "m", False)},
    servers=(ServerProcess("ab", 7, "here", 1.0, True, ()),),
    calls=(Call(3.0, "test", "infer", "m", 1.5, "ok", None),),
)


def test_a_version_alone_is_no_change() -> None:
    assert change(FULL, FULL) is None and change(FULL, replace(FULL, version=9)) is None


def test_only_what_has_changed_is_told() -> None:
    job = replace(FULL.jobs["j"], progress=0.6)
    told = change(FULL, replace(FULL, version=2, jobs={"j": job, "k": replace(job, job_id="k")}))
    assert told is not None and set(told) == {"version", "jobs"} and [one["job_id"] for one in told["jobs"]] == ["j", "k"]
    told = change(FULL, replace(FULL, version=2, calls=(replace(FULL.calls[0], at=4.0), *FULL.calls)))
    assert told is not None and set(told) == {"version", "calls"} and [one["at"] for one in told["calls"]] == [4.0, 3.0]


def test_what_is_no_more_is_named() -> None:
    told = change(FULL, replace(FULL, version=2, models={}, checkpoints={}))
    assert told == {"version": 2, "gone": {"models": ["m"], "jobs": [], "datasets": [], "checkpoints": ["c"]}}


def test_a_model_is_told_with_its_new_points_and_marks() -> None:
    before = FULL.models["m"]
    on = replace(before, step=4, history=(*before.history, *points(3, 4)), measured=None)
    told = change(FULL, replace(FULL, version=2, models={"m": on}))
    assert told is not None and "afresh" not in told["models"][0]
    assert [point["step"] for point in told["models"][0]["points"]] == [3, 4]
    assert told["models"][0]["marks"] == [{"step": 2, "kind": "gate", "text": "withheld"}]
    for other in ({}, {"m": replace(before, config={"floors": {"k": 0.5}})}):  # of another model nothing is known to go on from
        told = change(replace(FULL, models=other), FULL)
        assert told is not None and told["models"][0]["afresh"] and told["models"][0]["points"] == []


def test_all_is_the_summary_with_marks_servers_and_calls() -> None:
    told = whole(FULL)
    assert told["models"][0]["marks"] and "marks" not in FULL.summary()["models"][0] and "calls" not in FULL.summary()
    assert (told["servers"][0]["server_id"], told["calls"][0]["tool"], told["version"]) == ("ab", "infer", 1)


@pytest.mark.parametrize(
    ("before", "now", "steps"),
    [
        ((), (), []),
        ((), points(1, 2), [1, 2]),
        (points(1, 2), points(1, 2), []),
        (points(1, 2), points(1, 2, 3), [3]),
        (points(1, 2, 3), points(1, 3, 4), [4]),  # thinned meanwhile
        (points(1, 2), points(1), None),  # undone
        (points(1, 2), (*points(1, 2, loss=9.0), *points(3)), None),  # another one
        (points(5), points(1, 2), None),
        (points(5), (), None),
        (points(1), points(*range(1, 11)), list(range(2, 11))),
        (points(1), points(*range(1, 12)), None),  # too many
        ((), points(*range(10)), None),
    ],
)
def test_points_that_are_new(
    before: tuple[HistoryPoint, ...], now: tuple[HistoryPoint, ...], steps: list[int] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_state, "MAX_NEW_POINTS", 9)
    found = new_points(before, now)
    assert (None if found is None else [point.step for point in found]) == steps
