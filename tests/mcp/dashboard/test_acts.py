"""What people can do from the page: the same as agents, by the same door."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest
from starlette.types import Message

from bitlm_mcp.assembly import all_tools, offered_tools
from bitlm_mcp.dashboard import acts
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec, build_tool
from tests.mcp.pages import Page
from tests.mcp.stages import TINY
from tests.mcp.whole_server import Web, web
from tests.mcp.workspaces import Server, server

WAIT = {"wait_s": 40}
VARYING = {"job_id", "model_id", "next", "version", "seconds", "bytes_per_second", "memory_bytes"}
"""What two calls that do the same do not have in common."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with a small model that has learned a little."""
    with server(tmp_path_factory.mktemp("state")) as one:
        one.data()
        one.create()
        one.trained(steps=2)
        yield one


@pytest.fixture(scope="module")
def page(made: Server) -> Page:
    return Page(made.workspace)


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Web]:
    """A whole server, over MCP and by the page's door."""
    with web(tmp_path_factory.mktemp("whole")) as found:
        found.prepared()
        yield found


def act(web: Web, tool: str, **arguments: Any) -> Any:
    answer = web.http.post(f"/api/tools/{tool}", json=arguments)
    assert answer.status_code == 200, answer.text
    return answer.json()["result"]


def test_every_tool_is_told_with_its_whole_schema(page: Page, made: Server) -> None:
    told = {tool["name"]: tool for tool in page.http.get("/api/tools").json()["tools"]}
    specs = {spec.tool_name: spec for spec in all_tools(made.workspace)}
    assert list(told) == list(specs) and len(told) > len(offered_tools(made.workspace))
    for name, spec in specs.items():
        facts = {"title": spec.title, "description": spec.description, "toolset": spec.toolset}
        facts |= {"read_only": spec.read_only, "destructive": spec.destructive}
        assert told[name] == {"name": name, "schema": build_tool(spec).checked} | facts
    accumulation = told["train_step"]["schema"]["properties"]["accumulation"]
    assert accumulation["x-rare"] is True and accumulation["minimum"] == 1 and told["set_telemetry"]["toolset"] == "tuning"


def test_a_call_answers_as_over_mcp(both: Web) -> None:
    by_page = act(both, "init_model", model_id="p", **TINY)
    by_agent = both.call("init_model", model_id="q", **TINY)["structuredContent"]
    assert by_page | {name: by_agent[name] for name in ("model_id", "version", "next")} == by_agent
    asked: dict[str, Any] = {"dataset_id": "data", "steps": 2, "batch_size": 2, **WAIT}
    by_page = act(both, "train_step", model_id="p", **asked)
    by_agent = both.call("train_step", model_id="q", **asked)["structuredContent"]
    assert by_page.keys() == by_agent.keys() and by_page["status"] == "completed"
    assert by_page["loss"] == by_agent["loss"] and by_page["step"] == 2
    for tool, arguments in (
        ("infer", {"model_id": "p", "prompt": "the ", "max_new_bytes": 12, "seed": 5}),
        ("score", {"model_id": "p", "dataset_id": "data", **WAIT}),
        ("list_models", {}),
        ("get_telemetry", {"model_id": "p"}),
    ):
        found, expected = act(both, tool, **arguments), both.call(tool, **arguments)["structuredContent"]
        assert found.keys() == expected.keys() and len(found) > 2, tool
        assert all(found[name] == expected[name] for name in found.keys() - VARYING), tool


@pytest.mark.parametrize(
    ("tool", "arguments", "names"),
    [
        ("infer", {"prompt": "a", "temperature": -1}, ["temperature"]),
        ("infer", {"model_id": "m"}, ["prompt", "prompt_base64", "prompt_bits"]),
        ("infer", {"prompt": "a", "max_bytes": 5}, []),
        ("infer", {"prompt": "a", "model_id": "none"}, []),
        ("train_step", {"dataset_id": "data", "steps": "3", "batch_size": 0}, ["steps", "batch_size"]),
        ("init_model", {"model_id": "n", "d_model": 100, "nhead": 7}, ["d_model", "nhead"]),
        ("init_model", {"model_id": "../x"}, ["model_id"]),
        ("add_dataset", {"dataset_id": "data", "text": "x"}, ["dataset_id", "overwrite"]),
        ("save_checkpoint", {}, ["name"]),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
def test_a_refusal_says_what_it_says_over_mcp_and_names_the_parameters(
    both: Web, tool: str, arguments: dict[str, Any], names: list[str]
) -> None:
    answer = both.http.post(f"/api/tools/{tool}", json=arguments)
    said = both.call(tool, **arguments)
    assert (answer.status_code, answer.json()) == (422, {"error": said["content"][0]["text"], "names": names})
    assert said["isError"]


def test_what_is_no_call_is_refused(page: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    unknown = page.http.post("/api/tools/forget_everything", json={})
    assert unknown.status_code == 404 and "no tool 'forget_everything'; known: init_model" in unknown.json()["error"]
    for content_type in ("text/plain", "application/x-www-form-urlencoded", ""):
        odd = page.http.post("/api/tools/list_models", content="{}", headers={"content-type": content_type})
        assert odd.status_code == 415 and "application/json" in odd.json()["error"]
    for body in ("[1]", "{", "", "null", '"{}"', "[" * 100_000):
        odd = page.http.post("/api/tools/list_models", content=body, headers={"content-type": "application/json"})
        assert (odd.status_code, odd.json()["names"]) == (422, []) and "no JSON object" in odd.json()["error"]
    assert page.http.get("/api/tools/list_models").status_code == 405
    monkeypatch.setattr(acts, "MAX_ARGUMENTS", 100)
    large = page.http.post("/api/tools/list_models", json={"text": "x" * 100})
    assert large.status_code == 413 and "more than 100 bytes" in large.json()["error"]


def test_what_is_not_finite_is_refused(page: Page) -> None:
    body = '{"prompt": "a", "temperature": NaN}'
    answer = page.http.post("/api/tools/infer", content=body, headers={"content-type": "application/json"})
    assert (answer.status_code, answer.json()["names"]) == (422, ["temperature"])


def test_with_read_only_there_are_the_tools_that_change_nothing(tmp_path: Path) -> None:
    with server(tmp_path / "state", read_only=True) as made:
        page = Page(made.workspace)
        assert page.http.get("/api/session").json() == {"read_only": True, "token": "none"}
        told = page.http.get("/api/tools").json()["tools"]
        assert told and all(tool["read_only"] for tool in told)
        assert page.act("list_models")["models"] == []
        for tool in ("init_model", "set_telemetry"):
            refused = page.http.post(f"/api/tools/{tool}", json={"model_id": "n"})
            assert refused.status_code == 403 and "--read-only" in refused.json()["error"]
        assert page.http.post("/api/tools/list_models", content="{}").status_code == 415
        assert not made.workspace.snapshot.models


def test_a_page_may_make_as_many_calls_as_an_agent(made: Server) -> None:
    page = Page(made.workspace, per_second=1.0)
    answers = [page.http.post("/api/tools/get_telemetry", json={"model_id": name}) for name in ("m", "none", "m")]
    assert [answer.status_code for answer in answers] == [200, 422, 429]
    assert answers[2].headers["retry-after"] == "1" and "more than 1 per second" in answers[2].json()["error"]
    assert {call.client for call in page.calls} == {"status page at testclient"}
    found = [(call.tool, call.model_id, call.outcome, (call.message or "")[:8]) for call in page.calls]
    tool = "get_telemetry"
    assert found == [(tool, "m", "ok", ""), (tool, "none", "error", "no model"), (tool, "m", "error", "too many")]


def test_calls_of_the_page_are_counted_and_recorded_with_the_others(tmp_path: Path) -> None:
    with web(tmp_path / "state", tools=("list_models",)) as both:
        both.http.post("/api/tools/set_telemetry", json={"model_id": "none"})
        both.call("list_models")
        metrics = both.http.get("/metrics").text
        assert 'bitlm_tool_calls_total{outcome="error",tool="set_telemetry"} 1.0' in metrics
        assert 'bitlm_tool_calls_total{outcome="ok",tool="list_models"} 1.0' in metrics
    with server(tmp_path / "state") as made:
        latest = {call.tool: call for call in made.workspace.records.latest_calls(10)}
        assert (
            latest["set_telemetry"].client == "status page at testclient"
            and latest["list_models"].client != latest["set_telemetry"].client
        )


def test_what_was_withheld_can_be_decided_on(page: Page) -> None:
    asked = {"model_id": "m", "prompt": "the ", "max_new_bytes": 80, "temperature": 0, "safety": "strict"}
    pending = page.act("infer", **asked)
    assert pending["status"] == "pending" and "text" not in pending
    released = page.act("approve_sample", sample_id=pending["sample_id"], approve=True)
    assert released["approved"] and len(released["text"]) > 10
    assert "withheld sample" in page.refusal("approve_sample", sample_id=pending["sample_id"], approve=True)["error"]


class Nothing(Result):
    """An answer."""


async def breaks() -> Nothing:
    """Break in a way that nobody foresaw."""
    raise RuntimeError("the secret details")


def test_a_fault_of_the_server_is_told_without_details(made: Server, caplog: pytest.LogCaptureFixture) -> None:
    page = Page(made.workspace, specs=[ToolSpec(breaks, "Break", read_only=True, destructive=False, idempotent=True)])
    answer = page.http.post("/api/tools/breaks", json={})
    assert answer.status_code == 500 and "fault in the server" in answer.json()["error"]
    assert "secret" not in answer.text and "the secret details" in caplog.text
    assert [(call.tool, call.outcome) for call in page.calls] == [("breaks", "error")]


@pytest.mark.anyio
async def test_a_page_that_goes_away_cancels_what_it_waits_for(tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.data()
        made.create()
        page, workspace = Page(made.workspace), made.workspace
        arguments = {"model_id": "m", "dataset_id": "data", "seconds": 60, **WAIT}

        async def leaves_later() -> AsyncIterator[Message]:
            yield {"type": "http.request", "body": json.dumps(arguments).encode(), "more_body": False}
            while workspace.model("m").step < 1:
                await anyio.sleep(0)
            yield {"type": "http.disconnect"}

        with anyio.fail_after(60):
            messages = leaves_later()
            found = await page.ask("POST", "/api/tools/train_step", messages, content_type="application/json")
        assert found == (0, {})
        trainings = [job_id for job_id, job in workspace.snapshot.jobs.items() if job.kind == "train_step"]
        assert len(trainings) == 1
        assert (await anyio.to_thread.run_sync(made.ended, trainings[0])).status == "cancelled"
        assert [(call.tool, call.outcome) for call in page.calls] == [("train_step", "cancelled")]
