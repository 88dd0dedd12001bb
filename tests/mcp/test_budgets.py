"""What a call costs its caller's context: every default answer and every list stay short, however much there is."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from mcp import Client

from bitlm_core import GateState, Verdict
from bitlm_core.telemetry.drift import DriftAlert
from bitlm_mcp.assembly import offered_tools
from bitlm_mcp.compute.answers import GeneratedTelemetry, GenerationOutcome
from bitlm_mcp.doctor import MAX_INSTRUCTIONS_BYTES, MAX_LIST_BYTES
from bitlm_mcp.operations.data import Source, add_dataset
from bitlm_mcp.operations.models import save
from bitlm_mcp.results import both_channels
from bitlm_mcp.safety import Sample
from bitlm_mcp.server import build_server
from bitlm_mcp.snapshot import LISTS, HistoryPoint, JobView
from bitlm_mcp.tools.gate_results import CalibrateResult, FloorsResult
from tests.mcp.stages import client
from tests.mcp.workspaces import TEXT, Server, server

MAX_TEXT_BYTES = 2048
SLOW = {"calibrate_floors", "distill_model", "push_checkpoint", "pull_checkpoint"}
"""Whose answers have tests of their own."""
LONG = "a-name-as-long-as-names-may-be.with-64-characters.0123456789-"
NAMES = [f"{LONG}{index:03}" for index in range(7)]
WATCHED = NAMES[3]
"""The model with a long history, which no test changes."""
ALERT = DriftAlert("bits_per_byte_mixed", 1_000_000, 0.00012345, 0.00012345, 0.00012345).message


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server with the longest names, more things than a list shows, and a model whose every number is long."""
    with server(tmp_path_factory.mktemp("state")) as made:
        for name in NAMES:
            made.create(name)
            made.completed(save(made.workspace, name, name, overwrite=False, pinned=False))
            add_dataset(made.workspace, name, [[TEXT]], source="text", holdout_fraction=0.5, overwrite=False)
            failed = JobView(
                job_id=f"job-{name[-16:]}", kind="train_step", model_id=name, status="failed", progress=0.12345,
                steps_done=0, steps_total=None, bytes_per_second=None, eta_s=None, created=time.time(), finished=time.time(),
                error="something went wrong " * 50,
            )  # fmt: skip
            made.workspace.records.add_job(replace(failed, status="running"), {}, made.workspace.presence.server_id)
            made.workspace.records.update_job(failed, made.workspace.presence.server_id)
        model = made.workspace.models.find(WATCHED)
        assert model is not None
        names = {field.name for field in fields(HistoryPoint)} - {"step", *LISTS}
        measured: dict[str, Any] = dict.fromkeys(names, 0.00012345678) | {"halt_probs": (0.00012345678,) * 6}
        measured["patch_histogram"] = (123_456,) * 32
        measured["memory_bytes"] = 123_456_789_012
        rarely = dict.fromkeys("kcs")  # at every tenth step, which no tool can change
        for step in range(1_000_000, 1_000_040):
            model.history.add(HistoryPoint(**measured | {"step": step} | (rarely if step % 10 else {})))
        model.history.warn([ALERT] * 10)
        made.workspace.refresh()
        yield made


@pytest.mark.anyio
async def test_what_every_host_reads_first_is_short(full: Server) -> None:
    async with Client(build_server(offered_tools(full.workspace))) as asked:
        listed = await asked.list_tools()
        assert len(listed.model_dump_json(by_alias=True, exclude_none=True).encode()) <= MAX_LIST_BYTES
        assert len((asked.instructions or "").encode()) <= MAX_INSTRUCTIONS_BYTES


def withheld(made: Server) -> str:
    """An output of the default length that waits for a decision, with every reason that there is, by its id."""
    reasons = tuple(f"{metric} 0.0123 > 0.0456 bits per byte: {'a cause that was seen; ' * 6}" for metric in ("K", "C", "S"))
    verdict = Verdict(passed=False, judged=True, k=0.00012345, c=0.00012345, s=0.00012345, reasons=reasons)
    names = ("k", "c", "s", "transition_rate", "symbiosis_kl", "composite", "valid_groups")
    looks = GeneratedTelemetry(**dict.fromkeys(names, 0.00012345), parity_failures=0)
    outcome = GenerationOutcome(data=b"\0" * 64, bits_per_byte=0.00012345, verdict=verdict, telemetry=looks, step=1_000_000)
    gate = GateState(num_judged=10, triggered=True, averages={}, reasons=reasons)
    sample = Sample(model_id=NAMES[0], found=outcome, gate=gate, reasons=reasons)
    made.workspace.withheld.hold(sample)
    return sample.sample_id


def test_floors_are_told_in_short() -> None:
    ends = {name: [0.00012345678, 0.00012345678] for name in ("k", "c", "s", "pairs", "excess", "cost")}
    floors = [FloorsResult(num_bytes=length, **ends) for length in (64, 128, 256, 512)]
    result = CalibrateResult(job_id="job-" + "x" * 16, status="completed", num_generations=160, floors=floors)
    (text,) = [getattr(part, "text", "") for part in both_channels(result).content]
    assert 64 < len(text.encode()) <= MAX_TEXT_BYTES


@pytest.mark.anyio
async def test_default_answers_are_short(full: Server) -> None:
    model, done = {"model_id": NAMES[0]}, full.trained(NAMES[1], steps=1, source=Source(dataset_id=NAMES[0])).job_id
    async with client(full) as asked:
        long = await asked.call_tool("infer_long", model | {"dataset_id": NAMES[0]})
        packed = await asked.call_tool("compress", {"dataset_id": NAMES[0]})
        assert long.structured_content is not None and packed.structured_content is not None
        calls: list[tuple[str, dict[str, Any]]] = [
            ("init_model", {"model_id": LONG + "new", "preset": "tiny"}),
            ("list_models", {}),
            ("add_dataset", {"dataset_id": LONG + "new", "text": "some text"}),
            ("train_step", model | {"dataset_id": NAMES[0]}),
            ("wait_job", {"job_id": done}),
            ("wait_job", {"job_id": long.structured_content["job_id"]}),
            ("cancel_job", {"job_id": done}),
            ("list_jobs", {}),
            ("read_output", {"job_id": long.structured_content["job_id"]}),
            ("score", model | {"dataset_id": NAMES[0]}),
            ("infer", model | {"prompt": "the quick"}),
            ("infer_long", model | {"dataset_id": NAMES[0]}),
            ("diffusion_sample", model),
            ("show_surprise", model | {"dataset_id": NAMES[0]}),
            ("compress", model | {"text": "some text that is compressed"}),
            ("decompress", {"job_id": packed.structured_content["job_id"]}),
            ("repair", {"text": "some text, " * 30, "places": ["100:40"]}),
            ("get_telemetry", {"model_id": WATCHED}),
            ("show_training", {"model_id": WATCHED}),
            ("set_telemetry", model | {"lambda_k": 0.12345678, "floor_s": 0.12345678}),
            ("inspect_patches", {"text": LONG * 30, "adaptive": True, "max_patch_size": 16}),
            ("quantize_model", {"model_id": NAMES[1]}),
            ("save_checkpoint", model | {"name": LONG + "new"}),
            ("load_checkpoint", {"name": LONG + "new", "model_id": LONG + "two"}),
            ("delete", {"kind": "model", "name": LONG + "two"}),
            ("scale_model", {"model_id": LONG + "new", "strategy": "width"}),
            ("approve_sample", {"sample_id": withheld(full), "approve": True}),
        ]
        assert {name for name, _ in calls} | SLOW == {tool.name for tool in (await asked.list_tools()).tools}
        for name, arguments in calls:
            answer = await asked.call_tool(name, arguments)
            (text,) = [getattr(part, "text", "") for part in answer.content]
            assert not answer.is_error, f"{name}: {text}"
            assert len(text.encode()) <= MAX_TEXT_BYTES, f"{name}: {len(text.encode())} bytes: {text}"
        told = (await asked.call_tool("wait_job", {"job_id": f"job-{NAMES[0][-16:]}"})).content
        assert "something went wrong" in str(told)


@pytest.mark.anyio
async def test_telemetry_says_what_it_leaves_out_and_the_call_it_names_has_it(full: Server) -> None:
    async with client(full) as asked:

        async def telemetry(**arguments: Any) -> dict[str, Any]:
            answer = await asked.call_tool("get_telemetry", arguments | {"model_id": WATCHED})
            assert not answer.is_error, answer.content
            return dict(answer.structured_content or {})

        def called(name: str) -> dict[str, Any]:
            """The arguments of a call as an answer names it."""
            assert name.startswith(f"get_telemetry(model_id={WATCHED!r}")
            pairs = (pair.split("=") for pair in name.removesuffix(")").split(", ")[1:])
            return {key: json.loads(value) for key, value in pairs}

        everything = await telemetry(last=500, full=True)
        all_steps = everything["history"]["step"]
        assert "left_out" not in everything
        short = await telemetry()
        left, told = short["left_out"], len(short["history"]["step"])
        assert 0 < told < 20 and short["history"]["step"] == all_steps[-told:]  # no more of such long numbers fit
        assert left["steps"] == len(all_steps) - told
        assert len((await telemetry(last=21))["history"]["step"]) == 21  # who asks for more gets them
        assert (left["alerts"], called(left["next"])) == (8, {"full": True, "since_step": 0})
        seen: list[int] = []
        found = await telemetry(**called(left["next"]))
        for figure in left["figures"]:
            *parts, name = figure.split(".")
            assert name in (found["history"] if parts else found) and name not in (short["history"] if parts else short)
        assert len(found["alerts"]) == 10 and found["alerts"][-2:] == short["alerts"]
        while True:
            seen += found["history"]["step"]
            if "left_out" not in found:
                break
            assert found["left_out"].keys() == {"steps", "next"}
            found = await telemetry(**called(found["left_out"]["next"]))
        assert seen == list(range(1_000_000, 1_000_040))  # another test may have trained it, to its step 1, and that is earlier
        none = (await telemetry(last=0))["left_out"]
        assert none["steps"] == len(all_steps) and "history.composite" not in none["figures"]


@pytest.mark.anyio
@pytest.mark.parametrize("tool", ["list_models", "list_jobs"])
async def test_long_lists_come_in_pages(full: Server, tool: str) -> None:
    async with client(full) as asked:

        async def page(**arguments: int) -> dict[str, Any]:
            return dict((await asked.call_tool(tool, arguments)).structured_content or {})

        def ids(found: dict[str, Any]) -> list[str]:
            kind, key = ("jobs", "job_id") if tool == "list_jobs" else ("models", "model_id")
            return [item[key] for item in found[kind]]

        everything = await page(limit=100)
        assert len(ids(everything)) > 5 and "next" not in everything
        first, offset, seen = await page(), 5, []
        assert len(ids(first)) == 5 and first["next"] == f"{tool}(offset=5)"
        seen += ids(first)
        while len(seen) < len(ids(everything)):
            seen += ids(await page(offset=offset))
            offset += 5
        assert seen == ids(everything)
        assert ids(await page(offset=10_000)) == []
        totals = everything["total"] if tool == "list_jobs" else everything["totals"]["models"]
        assert totals == len(seen)
