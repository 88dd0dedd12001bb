"""A wall clock that jumps: leases, jobs and saves go by other clocks, and only the memory of ended jobs can suffer."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from tests.faults.story import TINY, Story
from tests.faults.victims import Refused, ShiftedClock, victim

DAY_S = 86_400


@pytest.mark.slow
def test_jumps_of_some_days_lose_nothing(tmp_path: Path) -> None:
    rng = random.Random(5)
    by, state, story = tmp_path / "by", tmp_path / "state", Story(rng)
    by.write_text("0")
    for _ in range(4):
        with victim(state, ShiftedClock(str(by)), autosave_s=0.1) as server:
            story.verify(server)
            for _ in range(20):
                by.write_text(str(rng.choice([-2, -0.1, 0, 0.1, 2]) * DAY_S))
                story.act(server)
            server.kill()
    assert story.acknowledged > 20
    with victim(state) as server:
        story.verify(server)


@pytest.mark.parametrize("years", [-20, 20])
def test_years_cost_the_memory_of_ended_jobs_alone(tmp_path: Path, years: int) -> None:
    by, state = tmp_path / "by", tmp_path / "state"
    by.write_text("0")
    with victim(state, ShiftedClock(str(by)), autosave_s=0.1) as server:
        server.call("add_dataset", dataset_id="d", text="text " * 100)
        server.call("init_model", model_id="m", context_mixing=False, **TINY)
        saved = server.call("save_checkpoint", name="c", model_id="m")
        ended = server.call("train_step", model_id="m", dataset_id="d", steps=3, batch_size=2, wait_s=30)
        running = server.call("train_step", model_id="m", dataset_id="d", seconds=300, batch_size=2, wait_s=0)
        by.write_text(str(years * 365 * DAY_S))
        first = server.until("wait_job", lambda job: job.get("saved_step"), job_id=running["job_id"], wait_s=0.1)
        # Saves go on at their pace, whichever way the clock went.
        later = server.until(
            "wait_job", lambda job: job["saved_step"] > first["saved_step"], job_id=running["job_id"], wait_s=0.1
        )
        server.kill()
    with victim(state, ShiftedClock(str(by))) as server:
        assert server.call("load_checkpoint", name="c", model_id="n")["sha256"] == saved["sha256"]
        assert server.call("get_telemetry", model_id="m")["step"] >= later["saved_step"]
        goes_on = server.call("train_step", resume_job=running["job_id"], wait_s=0)
        assert goes_on["status"] in ("queued", "running")
        try:
            assert server.call("wait_job", job_id=ended["job_id"], wait_s=0)["status"] == "completed"
        except Refused as refused:
            assert years > 0 and "no job" in str(refused), refused


def test_a_lease_is_not_lost_to_a_server_with_another_clock(tmp_path: Path) -> None:
    by, state = tmp_path / "by", tmp_path / "state"
    by.write_text(str(3 * 365 * DAY_S))
    with victim(state) as holder:
        holder.call("init_model", model_id="m", context_mixing=False, **TINY)
        job = holder.call("train_step", model_id="m", text="text " * 100, seconds=300, batch_size=2, wait_s=0)
        with victim(state, ShiftedClock(str(by)), log=tmp_path / "other.log") as other:
            with pytest.raises(Refused, match=f"being written by process {holder.process.pid}"):
                other.call("train_step", model_id="m", text="text " * 100, steps=1)
            assert other.call("infer", model_id="m", prompt="a", max_new_bytes=1)["model_step"] == 0
            assert other.call("wait_job", job_id=job["job_id"], wait_s=0)["status"] in ("queued", "running")
            assert other.call("cancel_job", job_id=job["job_id"])["job_id"] == job["job_id"]
        holder.until("wait_job", lambda found: found["status"] == "cancelled", job_id=job["job_id"], wait_s=1)
