"""Three server processes behind a plain proxy: every request of one client may land anywhere, and the client cannot tell."""

from __future__ import annotations

import base64
import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from typing import Any

import anyio
import pytest
from dummy_process import LEGACY, ROOT, STOP_S, until
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.server.subscriptions import ResourceUpdated
from mcp_types import ElicitRequestParams, ElicitResult

from bitlm_mcp.app import UNKNOWN_SESSION
from bitlm_mcp.extensions.tasks import IDENTIFIER
from bitlm_mcp.snapshot import FINAL
from tests.faults.victims import Victim
from tests.mcp.fleet import LONG_S, Caller, Fleet, fleet
from tests.mcp.whole_server import MODERN, TEXT, TINY

ENDLESS = {"dataset_id": "data", "seconds": 600, "batch_size": 2, "wait_s": 0}
COLLAPSED: dict[str, Any] = {"prompt": "The", "max_new_bytes": 80, "temperature": 0, "safety": "strict"}
LATE_S = 1.0
"""So far behind the server that runs a training others may be; the tests take as much again for themselves."""


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Fleet]:
    with fleet(tmp_path_factory.mktemp("fleet") / "state", toolsets="all") as made:
        made.client.call("add_dataset", dataset_id="data", text=TEXT)
        yield made


def running(on: Caller, model_id: str, **arguments: Any) -> str:
    """A training without end that has begun, by the id of its job."""
    job_id: str = on.call("train_step", model_id=model_id, **ENDLESS, **arguments)["job_id"]
    on.until("wait_job", lambda job: (job.get("steps_done") or 0) > 2, job_id=job_id, wait_s=0)
    return job_id


def test_a_day_of_a_client_whose_every_request_lands_on_another_server(three: Fleet) -> None:
    call, first = three.client.call, len(three.proxy.taken)
    call("init_model", model_id="day", **TINY)
    job_id = call("train_step", model_id="day", dataset_id="data", steps=30, batch_size=2, wait_s=0)["job_id"]
    waited = 0
    while call("wait_job", job_id=job_id, wait_s=5)["status"] not in FINAL:
        waited += 1
        assert waited < 20
    # What was done anywhere is known everywhere, at once.
    for _ in three.servers:
        assert call("get_telemetry", model_id="day")["step"] == 30
        assert call("infer", model_id="day", prompt="the ", max_new_bytes=4)["model_step"] == 30
    assert call("score", model_id="day", dataset_id="data", wait_s=30)["bits_per_byte"] < 8
    packed = call("compress", text=TEXT, model_id="day", wait_s=30)
    outputs = [call("read_output", job_id=packed["job_id"], limit=4096) for _ in three.servers]
    assert outputs[0] == outputs[1] == outputs[2] and outputs[0]["total_bytes"] == packed["compressed_bytes"]
    whole = call("decompress", data_base64=outputs[0]["data_base64"], model_id="day", wait_s=30)
    assert whole["num_bytes"] == len(TEXT) and TEXT.startswith(whole["text"])
    call("save_checkpoint", name="evening", model_id="day")
    assert call("load_checkpoint", name="evening", model_id="again")["step"] == 30
    for _ in three.servers:
        assert "bitlm://models/again" in {found["uri"] for found in three.client.web.result("resources/list")["resources"]}
    for _ in three.servers:
        assert {"day", "again"} <= {model["model_id"] for model in call("list_models", limit=20)["models"]}
    call("delete", kind="model", name="again")
    call("delete", kind="checkpoint", name="evening")
    for _ in three.servers:
        assert "no model" in three.client.refusal("infer", model_id="again", prompt="a")
        assert "evening" not in call("list_models", limit=20)["checkpoints"]
    asked = three.proxy.taken[first:]
    assert all(one != other for one, other in pairwise(asked)) and {*asked} == {*three.proxy.servers}


def test_a_training_is_followed_asked_and_stopped_from_everywhere(three: Fleet) -> None:
    one, two, client = three.at[0], three.at[1], three.client
    client.call("init_model", model_id="m", **TINY)
    job_id = running(one, "m")
    # The curve that another server tells is at most a second behind.
    for _ in range(3):
        known = one.call("get_telemetry", model_id="m")["step"]
        asked = time.monotonic()
        told = two.until("get_telemetry", lambda seen, known=known: seen["step"] >= known, model_id="m", last=5)  # type: ignore[misc]
        assert time.monotonic() - asked < 2 * LATE_S
        assert told["state"] == "training elsewhere" and told["job_id"] == job_id and told["loss"] > 0
        assert told["history"]["step"][-1] == told["step"] and len(told["history"]["step"]) == 5
    # A wait at a server that does not run the job lasts as long as was asked, and tells how far it is.
    asked = time.monotonic()
    polled = two.call("wait_job", job_id=job_id, wait_s=1)
    assert polled["status"] == "running" and polled["steps_done"] > 2 and 1 <= time.monotonic() - asked < 1 + LATE_S
    # The model answers as of its last saved state, and says so.
    for tool, arguments in (
        ("infer", {"prompt": "the ", "max_new_bytes": 4}),
        ("diffusion_sample", {"num_bytes": 4, "steps": 1}),
        ("score", {"text": TEXT, "wait_s": 30}),
        ("compress", {"text": TEXT, "wait_s": 30}),
    ):
        note = two.call(tool, model_id="m", **arguments)["note"]
        assert f"process {three.servers[0].process.pid}" in note and "last saved state, step 0" in note
        assert "note" not in one.call(tool, model_id="m", **arguments)
    # Who would change it too is told who does, and in which job.
    for tool, arguments in (
        ("train_step", {"model_id": "m", **ENDLESS}),
        ("set_telemetry", {"model_id": "m", "drift_window": 9}),
        ("delete", {"kind": "model", "name": "m"}),
    ):
        refusal = two.refusal(tool, **arguments)
        assert f"process {three.servers[0].process.pid}" in refusal and job_id in refusal and "cancel_job" in refusal
    stopped = two.call("cancel_job", job_id=job_id)
    assert stopped["status"] == "cancelled" and stopped["step"] == stopped["steps_done"]
    for caller in three.at:
        seen = caller.call("get_telemetry", model_id="m")
        assert caller.call("set_telemetry", model_id="m", drift_window=9)["settings"]["drift_window"] == 9
        assert (seen["state"], seen["step"]) == ("idle", stopped["step"])
    # Resumed elsewhere, it is followed and stopped at the server that ran it first, too.
    goes_on = two.call("train_step", resume_job=job_id, wait_s=0)
    assert goes_on["job_id"] == job_id
    one.until(
        "wait_job", lambda job: job["status"] == "running" and job.get("step", 0) > stopped["step"], job_id=job_id, wait_s=0
    )
    assert one.call("cancel_job", job_id=job_id)["status"] == "cancelled"


def test_of_the_same_call_at_two_servers_one_is_made(three: Fleet) -> None:
    three.client.call("init_model", model_id="key", **TINY)
    call = {"model_id": "key", "dataset_id": "data", "steps": 2, "batch_size": 2, "wait_s": 20, "idempotency_key": "once"}
    job_ids = {caller.call("train_step", **call)["job_id"] for caller in three.at}
    assert len(job_ids) == 1 and three.client.call("get_telemetry", model_id="key")["step"] == 2


def test_tasks_are_followed_and_stopped_at_any_server(three: Fleet) -> None:
    three.client.call("init_model", model_id="task", **TINY)
    with Caller(three.proxy.url, {IDENTIFIER: {}}) as able:
        task = able.web.call("train_step", **{**ENDLESS, "model_id": "task"})
        assert task["resultType"] == "task"
        task_id = task["taskId"]

        def status() -> str:
            told: str = able.web.result("tasks/get", task_id, taskId=task_id)["status"]
            return told

        assert {status() for _ in three.servers} == {"working"}
        able.web.result("tasks/cancel", task_id, taskId=task_id)
        until(lambda: status() == "cancelled", STOP_S, "the task ends")
        assert {status() for _ in range(2 * len(three.servers))} == {"cancelled"}


@pytest.mark.anyio
async def test_a_client_of_the_sdk_listens_and_is_asked(three: Fleet) -> None:
    three.client.call("init_model", model_id="heard", **TINY)
    questions: list[str] = []

    async def ask(context: Any, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return ElicitResult(action="accept", content={"release": True})

    wire = streamable_http_client(f"{three.proxy.url}/mcp")
    async with Client(wire, mode="auto", elicitation_callback=ask) as client:
        assert client.protocol_version == MODERN
        first = len(three.proxy.taken)
        async with client.listen(resource_subscriptions=["bitlm://models/heard"]) as subscription:
            for _ in three.servers:
                await client.call_tool("train_step", {"model_id": "heard", "dataset_id": "data", "steps": 1, "batch_size": 2})
                with anyio.fail_after(STOP_S):
                    async for event in subscription:
                        assert isinstance(event, ResourceUpdated)
                        break
        # What a server asks, another one takes the answer to.
        for _ in three.servers:
            released = await client.call_tool("infer", {"model_id": "heard", **COLLAPSED})
            assert (released.structured_content or {})["approved"]
        assert len(questions) == len(three.servers) and {*three.proxy.taken[first:]} == {*three.proxy.servers}


def test_an_output_that_was_withheld_is_decided_on_elsewhere_once(three: Fleet) -> None:
    three.client.call("init_model", model_id="held", **TINY)
    three.client.call("train_step", model_id="held", dataset_id="data", steps=2, batch_size=2, wait_s=20)
    pending = three.at[0].call("infer", model_id="held", **COLLAPSED)
    assert pending["status"] == "pending"
    released = three.at[1].call("approve_sample", sample_id=pending["sample_id"], approve=True)
    assert released["approved"] and len(base64.b64decode(released["data_base64"])) == COLLAPSED["max_new_bytes"]
    for caller in three.at:
        assert "it was decided on" in caller.refusal("approve_sample", sample_id=pending["sample_id"], approve=True)


def test_the_page_shows_everything_through_the_proxy(three: Fleet) -> None:
    http = three.client.http
    with http.stream("GET", "/api/events", timeout=LONG_S) as events:
        lines = events.iter_lines()
        assert next(line for line in lines if line.startswith("event:")) == "event: state"
        body = {"model_id": "paged", **TINY}
        made = http.post("/api/tools/init_model", json=body)
        assert made.status_code == 200, made.text
        assert any('"model_id":"paged"' in line for line in lines)
    octets = {"content-type": "application/octet-stream"}
    assert http.put("/api/datasets/uploaded", content=TEXT.encode(), headers=octets).status_code == 201
    for _ in three.servers:
        shown = http.get("/api/status").json()
        assert "uploaded" in {dataset["dataset_id"] for dataset in shown["datasets"]} and len(shown["servers"]) == 3
        assert http.get("/api/models/paged").json()["config"]
        assert http.get("/").status_code == http.get("/static/live.js").status_code == 200


def test_sessions_are_known_where_they_were_opened_and_nowhere_else(three: Fleet) -> None:
    hello = {"protocolVersion": LEGACY, "capabilities": {}, "clientInfo": {"name": "test", "version": "0"}}
    accepting = {"accept": "application/json, text/event-stream"}
    begin = {"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": hello}
    opened = three.at[0].http.post("/mcp", json=begin, headers=accepting)
    session = accepting | {"mcp-session-id": opened.headers["mcp-session-id"]}
    ping = {"jsonrpc": "2.0", "id": 2, "method": "ping"}
    assert three.at[0].http.post("/mcp", json=ping, headers=session).status_code == 200
    for refused in (
        three.at[1].http.post("/mcp", json=ping, headers=session),
        three.at[1].http.post("/messages/", params={"session_id": "0" * 32}, json=ping),
    ):
        assert refused.status_code == 404 and refused.json()["error"]["message"] == UNKNOWN_SESSION
    assert (ROOT / "examples" / "proxy").is_dir()


def test_a_training_whose_server_was_killed_goes_on_elsewhere(tmp_path: Path) -> None:
    with fleet(tmp_path / "state", autosave_s=0.05) as made:
        call = made.client.call
        call("add_dataset", dataset_id="data", text=TEXT)
        call("init_model", model_id="m", **TINY)
        job_id = running(made.at[0], "m")
        made.at[1].until("wait_job", lambda job: job.get("saved_step"), job_id=job_id, wait_s=0)
        made.servers[0].kill()
        # The others serve on, and soon tell that it was interrupted; the model is what was saved.
        ended = made.client.until("wait_job", lambda job: job["status"] != "running", job_id=job_id, wait_s=1)
        assert ended["status"] == "interrupted" and ended["next"] == f"train_step(resume_job={job_id!r})"
        kept = call("get_telemetry", model_id="m")
        assert kept["state"] == "idle" and kept["step"] >= ended["saved_step"]
        assert kept["step"] == kept["history"]["step"][-1]
        assert kept["step"] == call("infer", model_id="m", prompt="a", max_new_bytes=1)["model_step"]
        goes_on = call("train_step", resume_job=job_id, wait_s=0)
        assert goes_on["job_id"] == job_id
        made.client.until("wait_job", lambda job: job.get("step", 0) > kept["step"], job_id=job_id, wait_s=0)
        assert call("cancel_job", job_id=job_id)["status"] == "cancelled"


def told_to_stop(server: Victim) -> None:
    assert server.process.pid is not None
    os.kill(server.process.pid, signal.SIGTERM)


def test_a_server_that_is_told_to_stop_leaves_in_order(tmp_path: Path) -> None:
    with fleet(tmp_path / "state", count=2, drain_s=600) as made, ThreadPoolExecutor(1) as threads:
        going, stays = made.at
        made.client.call("add_dataset", dataset_id="data", text=TEXT)
        made.client.call("init_model", model_id="m", **TINY)
        job_id = running(going, "m")
        waiting = threads.submit(going.call, "wait_job", job_id=job_id, wait_s=40)
        until(lambda: not waiting.done() and going.http.get("/ready").status_code == 200, STOP_S, "the call waits")
        told_to_stop(made.servers[0])
        # It says that it goes, ends the wait instead of cutting it off, and serves on for a while.
        until(lambda: going.http.get("/ready").status_code == 503, STOP_S, "it is not ready any more")
        assert waiting.result(STOP_S)["status"] == "running" and stays.http.get("/ready").status_code == 200
        assert going.call("list_models")["models"]
        # A second signal ends that.
        told_to_stop(made.servers[0])
        made.servers[0].process.join(STOP_S)
        assert made.servers[0].process.exitcode == 0
        assert stays.call("wait_job", job_id=job_id, wait_s=0)["status"] == "interrupted"
        assert made.client.call("train_step", resume_job=job_id, wait_s=0)["job_id"] == job_id
        assert made.client.call("cancel_job", job_id=job_id)["status"] == "cancelled"


@pytest.mark.parametrize("trusted", [True, False])
def test_only_a_trusted_proxy_is_believed_who_its_clients_are(tmp_path: Path, trusted: bool) -> None:
    options = {"trusted_proxy": "127.0.0.1"} if trusted else {}
    with fleet(tmp_path / "state", count=1, drain_s=0.3, **options) as made:
        made.client.http.post("/api/tools/list_models", json={}, headers={"x-forwarded-for": "192.0.2.7"}).raise_for_status()
        until(lambda: made.at[0].http.get("/api/status").json()["calls"], STOP_S, "the call is recorded")
        (call,) = made.at[0].http.get("/api/status").json()["calls"]
        assert call["client"] == f"status page at {'192.0.2.7' if trusted else '127.0.0.1'}"
        # Without a second signal it goes when it has drained.
        told_to_stop(made.servers[0])
        made.servers[0].process.join(STOP_S)
        assert made.servers[0].process.exitcode == 0
