"""Calls as tasks: quick ones are answered at once, long ones are followed, stopped, and outlive their server."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp.extensions.tasks import IDENTIFIER, TaskPolicy
from tests.mcp.whole_server import Web, web

LONG_S = 60.0
LONG = {"model_id": "m", "dataset_id": "data", "seconds": 600, "batch_size": 2}


@pytest.fixture
def modern(tmp_path: Path) -> Iterator[Web]:
    with web(tmp_path, {IDENTIFIER: {}}) as found:
        found.prepared()
        yield found


def until(client: Web, task_id: str, *statuses: str) -> dict[str, Any]:
    deadline = time.monotonic() + LONG_S
    while (task := client.result("tasks/get", task_id, taskId=task_id))["status"] not in statuses:
        assert time.monotonic() < deadline, task
        threading.Event().wait(0.05)
    return task


def test_a_quick_call_is_answered_at_once(modern: Web) -> None:
    done = modern.call("train_step", model_id="m", dataset_id="data", steps=1, batch_size=2)
    assert done["resultType"] == "complete" and done["structuredContent"]["status"] == "completed"


def test_a_long_call_is_a_task_with_the_id_of_its_job(modern: Web) -> None:
    task = modern.call("train_step", **LONG)
    assert task["resultType"] == "task" and task["status"] == "working" and "result" not in task
    task_id = task["taskId"]
    job = modern.call("wait_job", job_id=task_id, wait_s=0)["structuredContent"]
    assert job["status"] in ("queued", "running") and job["job_id"] == task_id
    assert until(modern, task_id, "working")["pollIntervalMs"] > 0
    assert modern.result("tasks/cancel", task_id, taskId=task_id) == {"resultType": "complete"}
    cancelled = until(modern, task_id, "cancelled")
    assert "result" not in cancelled and "error" not in cancelled
    job = modern.call("wait_job", job_id=task_id, wait_s=30)["structuredContent"]
    assert job["status"] == "cancelled" and "resume_job" in job["next"]
    # Stopping it again changes nothing.
    assert modern.result("tasks/cancel", task_id, taskId=task_id) == {"resultType": "complete"}


def test_a_task_ends_with_what_the_call_would_have_returned(modern: Web) -> None:
    task = modern.call("train_step", **LONG | {"seconds": 3})
    assert task["resultType"] == "task"
    done = until(modern, task["taskId"], "completed", "failed")
    assert done["result"]["structuredContent"]["status"] == "completed" and not done["result"].get("isError")


def test_tasks_outlive_their_server(tmp_path: Path) -> None:
    with web(tmp_path, {IDENTIFIER: {}}) as first:
        first.prepared()
        running = first.call("train_step", **LONG)["taskId"]
        queued = first.call("train_step", model_id="m", dataset_id="data", steps=1, batch_size=2, queue=True)["taskId"]
    with web(tmp_path, {IDENTIFIER: {}}) as second:
        for task_id in (running, queued):
            # The call has ended with an error, which says how to go on.
            ended = second.result("tasks/get", task_id, taskId=task_id)
            assert ended["status"] == "completed" and ended["result"]["isError"]
            assert "resume_job" in ended["result"]["content"][0]["text"]
        resumed = second.call("train_step", resume_job=running)
        assert resumed["resultType"] == "task" and resumed["taskId"] == running
        second.result("tasks/cancel", running, taskId=running)
        assert until(second, running, "cancelled")


def test_tasks_that_are_no_jobs_are_followed_and_stopped_at_any_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_mcp.assembly.POLICIES", {"delete": TaskPolicy(), "wait_job": TaskPolicy()})
    with web(tmp_path, {IDENTIFIER: {}}) as second:
        second.prepared()
        job_id = second.call("train_step", **LONG, wait_s=0)["structuredContent"]["job_id"]
        with web(tmp_path, {IDENTIFIER: {}}) as first:
            quick = first.call("delete", kind="checkpoint", name="none")["taskId"]
            assert until(second, quick, "completed")["result"]["isError"]
            stopped, lost = [first.call("wait_job", job_id=job_id)["taskId"] for _ in "ab"]
            second.result("tasks/cancel", stopped, taskId=stopped)
            assert "result" not in until(second, stopped, "cancelled")
            assert until(first, stopped, "cancelled") and until(second, lost, "working")
        assert "make it again" in until(second, lost, "failed")["error"]["message"]


def test_a_refused_call_is_no_task(modern: Web) -> None:
    refused = modern.call("train_step", model_id="none", dataset_id="data", seconds=600)
    assert refused["resultType"] == "complete" and refused["isError"] and "no model" in refused["content"][0]["text"]


def test_a_job_of_any_server_can_be_followed(modern: Web) -> None:
    other = Web(modern.http)  # declares nothing, so its call is an ordinary one
    job_id = other.call("train_step", **LONG, wait_s=0)["structuredContent"]["job_id"]
    assert modern.result("tasks/get", job_id, taskId=job_id)["status"] == "working"
    modern.result("tasks/cancel", job_id, taskId=job_id)
    assert until(modern, job_id, "cancelled")


def test_clients_that_declare_nothing_get_no_tasks(modern: Web) -> None:
    plain = Web(modern.http)
    answer = plain.call("train_step", **LONG, wait_s=0)
    assert answer["resultType"] == "complete" and answer["structuredContent"]["next"].startswith("wait_job")
    job_id = answer["structuredContent"]["job_id"]
    for method, params in (("tasks/get", {}), ("tasks/cancel", {}), ("tasks/update", {"inputResponses": {}})):
        refused = plain.ask(method, job_id, taskId=job_id, **params)["error"]
        assert refused["code"] == -32021 or IDENTIFIER in str(refused), refused
    plain.call("cancel_job", job_id=job_id)


def test_what_cannot_be_is_refused(modern: Web) -> None:
    for method, params in (("tasks/get", {}), ("tasks/cancel", {}), ("tasks/update", {"inputResponses": {}})):
        assert modern.ask(method, "none", taskId="none", **params)["error"]["code"] == -32602
    task_id = modern.call("train_step", **LONG)["taskId"]
    assert "Mcp-Name" in modern.ask("tasks/get", "another", taskId=task_id)["error"]["message"]
    # Answers that nobody waits for are taken and ignored.
    assert modern.result("tasks/update", task_id, taskId=task_id, inputResponses={"x": {"any": 1}})
    modern.result("tasks/cancel", task_id, taskId=task_id)
