"""With `--isolate`, the compute process may be killed: the server and all other models live, and a training goes on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from tests.faults.story import TINY
from tests.faults.victims import Victim, saved_after, victim


def computing(server: Victim) -> int:
    """The process that computes for a server."""
    tasks = Path(f"/proc/{server.process.pid}/task")
    (pid,) = {int(pid) for task in tasks.iterdir() for pid in (task / "children").read_text().split()}
    return pid


@pytest.mark.slow
def test_a_killed_compute_process_costs_the_steps_since_the_last_save(tmp_path: Path) -> None:
    rng = random.Random(9)
    with victim(tmp_path / "state", isolate=True, autosave_s=0.05) as server:
        server.call("init_model", model_id="other", context_mixing=False, **TINY)
        server.call("init_model", model_id="m", context_mixing=False, **TINY)
        job: dict[str, Any] = server.call("train_step", model_id="m", text="text " * 200, seconds=300, batch_size=2, wait_s=0)
        for _ in range(3):
            job = server.until("wait_job", saved_after(job.get("saved_step") or 0), job_id=job["job_id"], wait_s=0.1)
            threading.Event().wait(rng.random() * 0.2)
            os.kill(computing(server), signal.SIGKILL)
            job = server.until("wait_job", lambda j: j["status"] == "interrupted", job_id=job["job_id"], wait_s=1)
            assert "SIGKILL" in job["error"] and "resume_job" in job["next"], job
            assert server.call("get_telemetry", model_id="m")["step"] >= job["saved_step"]
            assert server.call("infer", model_id="other", prompt="a", max_new_bytes=1)["model_step"] == 0
            job = server.call("train_step", resume_job=job["job_id"], wait_s=0)
        assert server.call("cancel_job", job_id=job["job_id"])["step"] >= job["saved_step"]


def test_the_compute_process_does_not_outlive_its_server(tmp_path: Path) -> None:
    with victim(tmp_path / "state", isolate=True) as server:
        server.call("init_model", model_id="m", context_mixing=False, **TINY)
        server.call("train_step", model_id="m", text="text " * 200, seconds=300, batch_size=2, wait_s=0)
        child = Path(f"/proc/{computing(server)}")
        server.kill()
        deadline = time.monotonic() + 20
        while child.exists() and "Z" not in (child / "stat").read_text().split()[2]:
            assert time.monotonic() < deadline, "it lives on"
            threading.Event().wait(0.05)
