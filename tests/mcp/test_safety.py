"""The gate over the protocol: retries, sessions, what is withheld and who decides on it, and calibration as a job."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from mcp import Client
from mcp_types import ElicitRequestParams, ElicitResult

from bitlm_core import Gate, GateState, Verdict
from bitlm_mcp import safety
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.call_gate import CallLog
from bitlm_mcp.compute.answers import AttemptMade, GeneratedTelemetry, GenerationOutcome
from bitlm_mcp.database import Database
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.housekeeping import Housekeeper
from bitlm_mcp.safety import Sample, Sessions, Withheld
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.mcp.stages import TINY, WAIT, Stage, stage

COLLAPSED = {"prompt": "The", "max_new_bytes": 80, "temperature": 0, "safety": "strict"}
PASSED = Verdict(passed=True, judged=True, k=0, c=0.5, s=1, reasons=())


LOOKS = GeneratedTelemetry(k=0, c=0, s=0, transition_rate=0, symbiosis_kl=0, composite=0, valid_groups=1, parity_failures=0)


def outcome(*, attempts: int = 1) -> GenerationOutcome:
    made = tuple(AttemptMade(how="as asked", seed=0, temperature=1, verdict=PASSED, skipped=None) for _ in range(attempts))
    return GenerationOutcome(data=b"x", bits_per_byte=1, verdict=PASSED, telemetry=LOOKS, step=1, attempts=made)


@asynccontextmanager
async def asked(server: Stage, era: str, *answers: ElicitResult) -> AsyncIterator[tuple[Client, list[str]]]:
    """A client whose user gives these answers, and what the user was asked."""
    left, questions = list(answers), list[str]()

    async def ask(context: Any, params: ElicitRequestParams) -> ElicitResult:
        questions.append(params.message)
        return left.pop(0)

    made = build_server(all_tools(server.workspace))
    async with Client(made, mode=era, elicitation_callback=ask) as client:
        yield client, questions


async def called(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    answer = await client.call_tool(tool, arguments)
    assert not answer.is_error, answer.content
    return dict(answer.structured_content or {})


@pytest.mark.anyio
async def test_what_is_withheld_waits_for_a_decision_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        plain = await server.call("infer", **COLLAPSED | {"safety": "off"})
        pending = await server.call("infer", **COLLAPSED)
        assert pending["reasons"][0].startswith("C 0.") and "output repeats a cycle of 4 bytes" in pending["reasons"][0]
        assert pending["verdict"]["reasons"] == pending["reasons"] and pending["expires_s"] == 1800
        assert f"approve_sample(sample_id='{pending['sample_id']}'" in pending["next"]
        assert plain["data_base64"] not in json.dumps(pending)
        released = await server.call("approve_sample", sample_id=pending["sample_id"], approve=True)
        assert released["approved"] and released["data_base64"] == plain["data_base64"] and not released["verdict"]["passed"]
        assert "its time is over" in await server.refusal("approve_sample", sample_id=pending["sample_id"], approve=True)
        again = await server.call("infer", **COLLAPSED)
        discarded = await server.call("approve_sample", sample_id=again["sample_id"], approve=False)
        assert discarded == {"status": "discarded", "sample_id": again["sample_id"]} and len(server.workspace.withheld) == 0
        await server.call("infer", **COLLAPSED | {"safety": "warn"})
        await server.call("set_telemetry", floor_s=1.0)
        filled = await server.call("diffusion_sample", prefix="The", num_bytes=120)
        assert filled["verdict"]["reasons"]
        Housekeeper(server.workspace, CallLog()).tick()
        marks = server.workspace.model("default").marks
        happened = [mark.text.partition(": ")[0].removeprefix("an output ") for mark in marks]
        assert happened == ["was withheld", "was released", "was withheld", "failed", "failed"]
        assert {(mark.step, mark.kind) for mark in marks} == {(2, "gate")}
        other = Workspace(server.workspace.settings)
        try:
            assert other.model("default").marks == marks
        finally:
            other.close()


@pytest.mark.anyio
@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_a_client_that_can_ask_its_user_is_asked(tmp_path: Path, era: str) -> None:
    yes, no = (ElicitResult(action="accept", content={"release": release}) for release in (True, False))
    answers = (yes, no, ElicitResult(action="decline"), ElicitResult(action="cancel"))
    async with stage(tmp_path) as server, asked(server, era, *answers) as (client, questions):
        plain = await server.call("infer", **COLLAPSED | {"safety": "off"})
        found = [await called(client, "infer", **COLLAPSED) for _ in answers]
        assert found[0]["approved"] and found[0]["data_base64"] == plain["data_base64"]
        assert [one.get("status") for one in found] == [None, "discarded", "discarded", "pending"]
        assert len(questions) == 4 and "80 bytes generated by model 'default' were withheld: C 0." in questions[0]
        assert len(server.workspace.withheld) == 1  # what nobody has decided on


@pytest.mark.anyio
async def test_retries_are_told_and_need_a_gate(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        warned = await server.call("infer", **COLLAPSED | {"safety": "warn", "attempts": 4})
        assert [one["how"] for one in warned["attempts"]] == ["as asked", "another seed", "lower temperature", "diffusion"]
        assert warned["attempts"][0]["reason"].startswith("C 0.") and not warned["attempts"][0]["passed"]
        assert "temperature 0" in warned["attempts"][1]["skipped"] and "never trained" in warned["attempts"][3]["skipped"]
        noisy = await server.call("infer", prompt="The", max_new_bytes=80, temperature=10, safety="warn", attempts=3)
        assert [one.get("seed") for one in noisy["attempts"]] == [0, 1, 2] and noisy["gate"]["num_judged"] == 4
        refused = await server.refusal("infer", prompt="The", attempts=2)
        assert "attempts=2 needs a gate" in refused and "safety='warn'" in refused


@pytest.mark.anyio
async def test_a_session_that_has_triggered_withholds_what_passes_alone_and_others_do_not(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        fine = {"prompt": "The", "max_new_bytes": 8, "safety": "strict"}
        for _ in range(10):
            told = await server.call("infer", **COLLAPSED | {"safety": "warn"})
        assert told["gate"]["triggered"] and told["gate"]["num_judged"] == 10
        pending = await server.call("infer", **fine)
        assert pending["status"] == "pending" and "over this session's last outputs" in pending["reasons"][0]
        await server.call("init_model", model_id="other", **TINY)
        assert "status" not in await server.call("infer", model_id="other", **fine)


@pytest.mark.anyio
async def test_where_nobody_could_decide_the_output_is_refused(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        for change in ({"read_only": True}, {"tools": ("infer",)}):
            server.workspace.settings = server.workspace.settings.model_copy(update=change)
            text = await server.refusal("infer", **COLLAPSED)
            assert "the output was withheld: C 0." in text and "safety='warn'" in text
        assert len(server.workspace.withheld) == 0


@pytest.mark.anyio
async def test_calibrating_is_a_job_whose_floors_stay_with_the_model(tmp_path: Path, text: bytes) -> None:
    async with stage(tmp_path) as server:
        (server.files / "text.txt").write_bytes(text[:60_000])
        await server.call("add_dataset", dataset_id="text", path="text.txt")
        assert "at least 1,024" in await server.refusal("calibrate_floors", dataset_id="data", **WAIT)
        await server.call("train_step", dataset_id="text", steps=60, batch_size=16, learning_rate=0.02, **WAIT)
        found = await server.call("calibrate_floors", dataset_id="text", quantile=0.2, **WAIT)
        assert found["status"] == "completed" and found["num_generations"] == 40
        assert [row["num_bytes"] for row in found["floors"]] == [64, 128, 256, 512]
        assert all(len(row["pairs"]) == 2 and row["s"][0] > 0.5 for row in found["floors"])
        shown = await server.call("wait_job", job_id=found["job_id"])
        assert shown["result"]["floors"] == found["floors"]
        await server.call("save_checkpoint", name="calibrated")
        await server.call("load_checkpoint", name="calibrated", model_id="twin")
        asked = {"prompt": "The ", "max_new_bytes": 64, "safety": "warn"}
        twin, own = [await server.call("infer", model_id=name, **asked) for name in ("twin", "default")]
        assert twin["verdict"] == own["verdict"] and own["verdict"]["judged"]
    with_floors = Workspace(ServerSettings(state_dir=tmp_path / "state"))
    assert with_floors.models.get("default").facts.config.floors.calibrated[0].num_bytes == 64
    with_floors.close()


def test_withheld_outputs_are_few_and_do_not_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(safety.time, "time", lambda: now)
    monkeypatch.setattr(safety, "MAX_WITHHELD", 3)
    withheld, state = (
        Withheld(Database(tmp_path / "bitlm.db")),
        GateState(num_judged=1, triggered=False, averages={}, reasons=()),
    )
    samples = [Sample(model_id="m", found=outcome(), gate=state, reasons=("why",)) for _ in range(4)]
    for sample in samples:
        withheld.hold(sample)
    assert len(withheld) == 3 and len({sample.sample_id for sample in samples}) == 4
    with pytest.raises(UnknownHandleError, match="no withheld sample"):
        withheld.take(samples[0].sample_id)
    assert withheld.take(samples[1].sample_id) == samples[1]
    now += safety.WITHHELD_S + 1
    with pytest.raises(UnknownHandleError, match="call infer again"):
        withheld.take(samples[2].sample_id)
    assert len(withheld) == 0
    withheld.hold(samples[3])
    now += safety.WITHHELD_S + 1
    withheld.expire()
    assert len(withheld) == 0


def test_sessions_are_few_and_kept_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safety, "MAX_SESSIONS", 2)
    sessions = Sessions()
    assert sessions.observe("a", "m", outcome(attempts=3)).num_judged == 3
    assert sessions.observe("b", "m", outcome()).num_judged == 1
    assert sessions.observe("a", "m", outcome()).num_judged == 4
    assert sessions.observe("a", "n", outcome()).num_judged == 1  # b makes room
    assert sessions.observe("b", "m", outcome()).num_judged == 1
    sessions.forget("m")
    assert sessions.observe("b", "m", outcome()).num_judged == 1
    assert Gate().state.num_judged == 0
