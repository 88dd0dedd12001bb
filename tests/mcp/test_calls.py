"""Calls over the protocol: bad input is refused and changes nothing; training, asking, cancelling and loading go together."""

from __future__ import annotations

import base64
import gc
import math
import re
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from bitlm_core import TrainingConfig, bytes_to_bits
from bitlm_mcp.assembly import all_tools
from bitlm_mcp.operations.models import save
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace

TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "max_seq_len": 64, "context_mixing": False}
ONE_GROUP_WRONG_PARITY = "010000011"
WAIT = {"wait_s": 40}


class Stage:
    """A server in this process with one dataset and one trained model."""

    def __init__(self, client: Client, workspace: Workspace, files: Path) -> None:
        self.client, self.workspace, self.files = client, workspace, files

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        answer = await self.client.call_tool(tool, arguments)
        assert not answer.is_error, answer.content
        return dict(answer.structured_content or {})

    async def refusal(self, tool: str, **arguments: Any) -> str:
        answer = await self.client.call_tool(tool, arguments)
        assert answer.is_error, answer.structured_content
        return " ".join(getattr(part, "text", "") for part in answer.content)

    async def until_it_trains(self, steps: int = 1) -> None:
        """Wait until a training of the default model is under way and has made so many steps more."""
        model = self.workspace.model
        first = model("default").step
        with anyio.fail_after(60):
            while model("default").state != "training" or model("default").step < first + steps:
                await anyio.sleep(0)

    def state(self) -> Any:
        """All that a refused call must leave alone: what everyone sees, and every file but the database's own."""
        snapshot = replace(self.workspace.snapshot, version=0, jobs={})
        state = self.workspace.settings.state_dir
        files = {
            path: path.stat().st_size for path in sorted(state.rglob("*")) if path.is_file() and "bitlm.db" not in path.name
        }
        return snapshot, files


@asynccontextmanager
async def stage(tmp_path: Path) -> AsyncIterator[Stage]:
    files = tmp_path / "files"
    files.mkdir()
    (files / "data.txt").write_text("the quick brown fox " * 50)
    (tmp_path / "secret.txt").write_text("secret")
    workspace = Workspace(ServerSettings(state_dir=tmp_path / "state", allow_dirs=(files,), threads=1))
    try:
        async with Client(build_server(all_tools(workspace))) as client:
            made = Stage(client, workspace, files)
            await made.call("add_dataset", dataset_id="data", path="data.txt")
            await made.call("init_model", **TINY)
            await made.call("train_step", dataset_id="data", steps=2, batch_size=2, **WAIT)
            await made.call("save_checkpoint", name="good")
            await made.call("save_checkpoint", name="damaged")
            file = next((tmp_path / "state" / "checkpoints" / "damaged").glob("*.safetensors"))
            file.write_bytes(file.read_bytes()[:-4] + b"\0\1\2\3")
            yield made
    finally:
        workspace.close()


BAD: list[tuple[str, str, dict[str, Any], str]] = [
    ("unknown argument", "infer", {"prompt": "a", "max_bytes": 5}, r"no argument \"max_bytes\", did you mean max_new_bytes"),
    ("wrong type", "infer", {"prompt": "a", "max_new_bytes": "many"}, "max_new_bytes must be an integer"),
    ("out of range", "infer", {"prompt": "a", "temperature": -1}, "temperature must be a number, at least 0"),
    ("not a number", "infer", {"prompt": "a", "temperature": "nan"}, "temperature must be a number"),
    ("unknown choice", "init_model", {"model_id": "n", "architecture": "word"}, 'one of "byte", "bit"'),
    ("no input", "infer", {}, "exactly one of prompt, prompt_base64, prompt_bits; none was given"),
    ("two inputs", "infer", {"prompt": "a", "prompt_bits": "0"}, "prompt, prompt_bits were given"),
    ("no data", "train_step", {}, "exactly one of dataset_id, text, data_base64"),
    ("two data", "score", {"text": "a", "dataset_id": "data"}, "dataset_id, text were given"),
    ("records of no form", "score", {"text": "a", "records": "line"}, "whole, lines, pcap, and fixed:N .*give one of these"),
    ("records that do not fit", "score", {"text": "abc", "records": "fixed:2"}, "offset 2 has only 1"),
    ("no capture", "add_dataset", {"dataset_id": "n", "text": "abc", "records": "pcap"}, "no capture file"),
    ("stored records of no form", "add_dataset", {"dataset_id": "n", "text": "a", "records": "fixed:0"}, "give one of these"),
    ("bad base64", "infer", {"prompt_base64": "a b"}, "prompt_base64 is not base64"),
    ("bad base64 data", "add_dataset", {"dataset_id": "n", "data_base64": "%%%"}, "data_base64 is not base64"),
    ("bits that are none", "infer", {"prompt_bits": "01012"}, "character 4 is '2'"),
    ("bad parity", "infer", {"prompt_bits": ONE_GROUP_WRONG_PARITY}, "wrong parity bit.*send"),
    ("half a group", "infer", {"prompt_bits": "0101"}, "4 bits"),
    ("empty text", "add_dataset", {"dataset_id": "n", "text": ""}, "text is empty"),
    ("empty base64", "train_step", {"data_base64": ""}, "data_base64 is empty"),
    ("empty prompt", "infer", {"prompt": ""}, "prompt is empty"),
    ("prompt too long", "infer", {"prompt": "x" * 65}, r"65 bytes \(585 bits\) exceeds .* 64 bytes.*infer_long"),
    ("diffusion too long", "diffusion_sample", {"num_bytes": 60, "prefix": "12345"}, "65 bytes exceed"),
    ("absurd size", "init_model", {"model_id": "n", "d_model": 8192, "num_layers": 128}, "MiB.*Nothing was allocated"),
    ("absurd batch", "train_step", {"dataset_id": "data", "batch_size": 4096}, "batch_size must be an integer.*at most 1,024"),
    ("beyond the schema", "init_model", {"model_id": "n", "d_model": 10**12}, "d_model must be an integer"),
    ("sizes that do not fit", "init_model", {"model_id": "n", "d_model": 100, "nhead": 7}, "multiple of 14"),
    (
        "chunks of full attention",
        "init_model",
        {"model_id": "n", "attention": "full", "chunk_size": 8},
        "means attention='chunked'",
    ),
    ("two ways to run", "init_model", {"model_id": "n", "reversible": True, "use_checkpoint": True}, "choose one of them"),
    ("threshold of nothing", "init_model", {"model_id": "n", "use_act": False, "act_threshold": 0.5}, "has no meaning with"),
    ("heads in half pairs", "init_model", {"model_id": "n", "d_model": 18, "nhead": 3, "attention": "differential"}, "of 12"),
    (
        "sizes of no network",
        "init_model",
        {"model_id": "n", "architecture": "mix", "d_model": 64},
        "no network that d_model=64",
    ),
    ("preset of no network", "init_model", {"model_id": "n", "architecture": "mix", "preset": "tiny"}, "preset='tiny' could"),
    (
        "nothing at all",
        "init_model",
        {"model_id": "n", "architecture": "mix", "context_mixing": False},
        "nothing would be left",
    ),
    (
        "memory of nothing",
        "init_model",
        {"model_id": "n", "context_mixing": False, "mixing_memory_mib": 8},
        "mixing_memory_mib=8 has no meaning",
    ),
    (
        "too little memory",
        "init_model",
        {"model_id": "n", "mixing_memory_mib": 3},
        "mixing_memory_mib must be an integer, at least 8",
    ),
    ("carried at random", "train_step", {"dataset_id": "data", "carry": True, "objective": "diffusion"}, "use 'causal'"),
    ("nothing held out of text", "train_step", {"text": "ab", "validate_every": 1}, "held-out part of a dataset"),
    ("patience with base64", "train_step", {"data_base64": "AAAA", "patience": 1}, "held-out part of a dataset"),
    *(
        ("resumed with more", "train_step", {"resume_job": "job-none", name: value}, "pass no others beside it")
        for name, value in {
            "carry": True,
            "validate_every": 1,
            "patience": 1,
            "optimizer": "muon",
            "accumulation": 1,
            "use_autocast": False,
            "compile": False,
        }.items()
    ),
    ("path outside", "add_dataset", {"dataset_id": "n", "path": "/etc/passwd"}, "outside the folders"),
    ("path with dots", "add_dataset", {"dataset_id": "n", "path": "../secret.txt"}, "outside the folders"),
    ("no such file", "add_dataset", {"dataset_id": "n", "path": "none.txt"}, "there is no file"),
    ("id like a path", "init_model", {"model_id": "../x"}, "model_id must be a string"),
    ("dataset exists", "add_dataset", {"dataset_id": "data", "text": "x"}, "exists already.*overwrite=true"),
    ("no dataset", "train_step", {"dataset_id": "none"}, "no dataset 'none'; known: data: call add_dataset"),
    ("no model", "infer", {"model_id": "none", "prompt": "a"}, "no model 'none'; known: default: call init_model"),
    ("no telemetry", "get_telemetry", {"model_id": "none"}, "no model 'none'"),
    ("model exists", "init_model", TINY, r"'default' exists already \(step 2\).*overwrite=true"),
    ("no checkpoint", "load_checkpoint", {"name": "none", "model_id": "n"}, "no checkpoint 'none'. Available: damaged, good"),
    ("damaged checkpoint", "load_checkpoint", {"name": "damaged", "model_id": "n"}, "'damaged' is damaged.*good"),
    ("checkpoint exists", "save_checkpoint", {"name": "good"}, "exists already"),
    ("checkpoint like a path", "save_checkpoint", {"name": "../../x"}, "name must be a string"),
    ("no job", "wait_job", {"job_id": "job-none"}, "no job 'job-none'"),
    ("overlap too large", "infer_long", {"prompt": "abc", "ctx_bits": 90, "overlap": 90}, "overlap smaller than ctx_bits"),
    ("number as text", "train_step", {"dataset_id": "data", "steps": "3"}, 'steps must be an integer.*not "3"'),
    ("boolean as number", "save_checkpoint", {"name": "good", "overwrite": 1}, "overwrite must be true or false"),
    ("name too long for a file", "add_dataset", {"dataset_id": "n", "path": "x" * 300}, "cannot be read"),
    ("name with a zero", "add_dataset", {"dataset_id": "n", "path": "a\0b"}, "cannot be read"),
    ("empty path", "add_dataset", {"dataset_id": "n", "path": ""}, "path must be a string with at least 1 characters"),
    ("too short to learn", "train_step", {"text": "x"}, "1 byte is too little"),
]


@pytest.mark.anyio
async def test_every_bad_input_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = server.state()

        for what, tool, arguments, expected in BAD:
            text = await server.refusal(tool, **arguments)
            assert re.search(expected, text, re.DOTALL), f"{what}: {text}"
            assert "Traceback" not in text and "site-packages" not in text, what
            assert server.state() == before, what
        unknown = await server.client.call_tool("forget_everything", {})
        assert unknown.is_error and "forget_everything" in str(unknown.content)


@pytest.mark.anyio
async def test_a_second_training_is_refused_or_queued(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        first = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        assert first["status"] in ("queued", "running") and "wait_job" in first["next"]
        await server.until_it_trains()
        text = await server.refusal("train_step", dataset_id="data", steps=1)
        assert first["job_id"] in text and "queue=true" in text
        queued = await server.call("train_step", dataset_id="data", steps=1, wait_s=0, queue=True)
        seen = await server.call("get_telemetry")
        assert (seen["job_id"], seen["state"]) == (first["job_id"], "training")
        assert first["job_id"] in await server.refusal("train_step", dataset_id="data", steps=1)
        waiting = await server.call("wait_job", job_id=queued["job_id"], wait_s=0)
        assert waiting["status"] == "queued" and waiting["steps_done"] == 0 and "loss" not in waiting
        listed = await server.call("list_jobs", limit=2)
        assert [job["job_id"] for job in listed["jobs"]] == [first["job_id"], queued["job_id"]]
        assert "cancel_job first" in await server.refusal("init_model", **TINY, overwrite=True)
        assert "cancel_job first" in await server.refusal("load_checkpoint", name="good", overwrite=True)
        cancelled = await server.call("cancel_job", job_id=first["job_id"])
        assert cancelled["status"] == "cancelled"
        done = await server.call("wait_job", job_id=queued["job_id"], wait_s=40)
        assert done["status"] == "completed" and done["steps_done"] == 1


@pytest.mark.anyio
async def test_a_job_tells_its_own_end_for_ever(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        first = await server.call("train_step", dataset_id="data", steps=2, **WAIT)
        assert first["step"] == 4 and first["loss"] > 0
        await server.call("train_step", dataset_id="data", steps=3, **WAIT)
        await server.call("init_model", **TINY, overwrite=True)
        again = await server.call("wait_job", job_id=first["job_id"], wait_s=0)
        kept = ("step", "loss", "bits_per_byte", "steps_done", "status")
        assert {name: again[name] for name in kept} == {name: first[name] for name in kept}


@pytest.mark.anyio
async def test_settings_of_one_training_do_not_stick(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.call("train_step", dataset_id="data", steps=1, learning_rate=1e-6, batch_size=3, **WAIT)
        await server.call("train_step", dataset_id="data", steps=1, **WAIT)
        training = server.workspace.model("default").config["training"]
        assert training["learning_rate"] == TrainingConfig().learning_rate
        assert training["batch_size"] == TrainingConfig().batch_size


FORMS: list[dict[str, Any]] = [
    {"attention": "chunked", "chunk_size": 16, "overlap": 8, "reversible": True, "position": "sinusoidal"},
    {"attention": "differential", "use_checkpoint": True, "act_threshold": 0.9},
    {"use_act": True},
]


@pytest.mark.anyio
async def test_every_form_of_a_network_can_be_made_trained_and_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        for form in FORMS:
            made = await server.call("init_model", **TINY, **form, model_id="n", overwrite=True)
            told = dict(form)
            if told.pop("use_act", False):
                told["act_threshold"] = 0.99
            assert told.items() <= made["config"]["model"].items()
            done = await server.call("train_step", model_id="n", dataset_id="data", steps=2, **WAIT)
            assert done["status"] == "completed"
            await server.call("infer", model_id="n", prompt="The", max_new_bytes=4)
            told = await server.call("get_telemetry", model_id="n")
            if {"use_act", "act_threshold"} & form.keys():
                assert len(told["halt_probs"]) == 2 and all(0 < share < 1 for share in told["halt_probs"])
                assert 1 <= told["mean_layers"] <= 2
            else:
                assert not {"halt_probs", "mean_layers"} & told.keys()


@pytest.mark.anyio
async def test_a_training_is_as_it_was_asked_for(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        settings = {"optimizer": "adamw", "accumulation": 2, "use_autocast": False}
        done = await server.call("train_step", dataset_id="data", steps=5, carry=True, validate_every=2, **settings, **WAIT)
        assert done["bits_per_byte_held_out"] > 0 and "stopped_early" not in done
        view = server.workspace.model("default")
        assert settings.items() <= view.config["training"].items()
        told = await server.call("get_telemetry")
        assert told["bits_per_byte_held_out"] == done["bits_per_byte_held_out"]
        looks = told["history"]["bits_per_byte_held_out"]
        assert [look is not None for look in looks] == [False, False, False, True, False, True, False]


@pytest.mark.anyio
async def test_a_long_input_may_be_read_with_what_was_read_carried_on(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        sizes = {"prompt": "the quick brown fox " * 10, "ctx_bits": 450, "overlap": 225, "return_windows": 20}
        carried = await server.call("infer_long", **sizes, carry=True, **WAIT)
        assert [window["start_byte"] for window in carried["windows"]] == [0, 50, 100, 150]
        assert (carried["num_bits"], carried["num_windows"]) == (1800, 4)
        again = await server.call("infer_long", **sizes, **WAIT)
        assert again["num_windows"] == 7
        assert again["windows"][0]["bits_per_byte"] == pytest.approx(carried["windows"][0]["bits_per_byte"])
        assert again["windows"][1]["bits_per_byte"] != carried["windows"][1]["bits_per_byte"]
        await server.call("init_model", **TINY, model_id="n", position="sinusoidal")
        refused = await server.refusal("infer_long", **sizes, model_id="n", carry=True, **WAIT)
        assert "position='sinusoidal' ends at max_seq_len=64, so nothing can be carried past it" in refused


@pytest.mark.anyio
async def test_context_mixing_alone_is_made_trained_and_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = await server.call("init_model", model_id="m", architecture="mix", mixing_memory_mib=8)
        assert (made["num_parameters"], made["config"]["model"]) == (0, {"architecture": "mix"})
        assert made["config"]["mixing"]["memory_mib"] == 8 and made["memory_estimate_bytes"] < 100 << 20
        done = await server.call("train_step", model_id="m", dataset_id="data", steps=50, **WAIT)
        assert (done["status"], done["steps_done"], done["steps_total"], done["progress"]) == ("completed", 1, 50, 1)
        assert "all of the data was read" in done["note"] and "stopped_early" not in done
        assert 0 < done["bits_per_byte"] == done["bits_per_byte_mixed"] < 8
        again = await server.call("train_step", model_id="m", dataset_id="data", seconds=60, **WAIT)
        assert (again["status"], again["steps_done"], again["note"]) == ("completed", 0, done["note"])
        assert (await server.call("wait_job", job_id=again["job_id"], wait_s=0))["note"] == done["note"]
        told = await server.call("get_telemetry", model_id="m")
        assert told["step"] == 1 and all(0 < told[name] <= 1 for name in "kcs")
        known = await server.call("score", model_id="m", dataset_id="data", **WAIT)
        assert known["bits_per_byte"] < 2 and "bits_per_byte_network" not in known
        said = await server.call("infer", model_id="m", prompt="the quick ", max_new_bytes=8, temperature=0.0)
        assert said["text"] == "brown fo"
        along = await server.call("infer_long", model_id="m", dataset_id="data", **WAIT)
        assert along["accuracy"] > 0.9
        assert "continue a prompt with infer" in await server.refusal("diffusion_sample", model_id="m")
        for given in ({"batch_size": 4}, {"objective": "diffusion"}, {"carry": True}, {"learning_rate": 0.1}):
            text = await server.refusal("train_step", model_id="m", dataset_id="data", **given)
            assert "only networks are trained with that" in text
        await server.call("save_checkpoint", name="mixed", model_id="m")
        await server.call("load_checkpoint", name="mixed", model_id="twin")
        twin = await server.call("infer", model_id="twin", prompt="the quick ", max_new_bytes=8, temperature=0.0)
        assert twin == said


@pytest.mark.anyio
async def test_odd_records_are_found_and_told_in_short(tmp_path: Path) -> None:
    lines = [f"user {number % 7} logged in from host {number % 5}\n" for number in range(80)]
    odd = "user 3 \u001b[31mDROP TABLE accounts\n"
    async with stage(tmp_path) as server:
        stored = await server.call("add_dataset", dataset_id="log", text="".join([*lines, *lines]), records="lines")
        assert stored["num_documents"] == 160 and stored["holdout_bytes"] == len("".join(lines[-16:]))
        await server.call("init_model", **TINY | {"context_mixing": True}, model_id="n")
        await server.call("train_step", model_id="n", dataset_id="log", steps=2, **WAIT)
        held = await server.call("score", model_id="n", dataset_id="log", **WAIT)
        assert held["num_records"] == 16 and held["num_bytes"] == stored["holdout_bytes"]
        data = {"model_id": "n", "text": "".join([*lines[:50], odd, *lines[50:]]), "records": "lines"}
        for adaptive in (False, True):
            answer = await server.client.call_tool("score", data | {"adaptive": adaptive} | WAIT)
            assert answer.structured_content and len(str(getattr(answer.content[0], "text", "")).encode()) <= 2048
            found = answer.structured_content
            first, at = found["records"][0], len("".join(lines[:50]))
            assert (first["record"], first["offset"], first["num_bytes"], first["rank"]) == (50, at, len(odd), 1)
            assert len(found["records"]) == len(found["spans"]) == 5 and ("num_learned" in found) == adaptive
            top = found["spans"][0]
            assert bytes.fromhex(top["hex"]).decode() in odd and len(top["text"]) == 16
        waited = await server.call("wait_job", job_id=found["job_id"], wait_s=0)
        assert waited["kind"] == "score" and waited["result"]["records"][0]["record"] == 50
        await server.call("init_model", **TINY | {"context_mixing": False}, model_id="alone")
        refused = await server.refusal("score", **data | {"model_id": "alone"}, adaptive=True, **WAIT)
        assert "no context mixing" in refused


@pytest.mark.anyio
async def test_tables_of_ngrams_are_as_large_as_asked(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = [
            await server.call("init_model", **TINY, model_id="n", overwrite=True, ngram_rows=rows) for rows in (0, 100, None)
        ]
        assert [each["config"]["model"]["ngram_rows"] for each in made] == [0, 100, 4096]
        assert made[1]["num_parameters"] - made[0]["num_parameters"] == 2 * 100 * TINY["d_model"]  # type: ignore[operator]
        assert "ngram_rows=1" in await server.refusal("init_model", model_id="b", architecture="bit", ngram_rows=1)


@pytest.mark.anyio
async def test_patience_ends_a_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as server:
        monkeypatch.setattr("bitlm_core.learning.held_out_loss", lambda *_: math.log(2))
        done = await server.call("train_step", dataset_id="data", steps=900, validate_every=1, patience=3, **WAIT)
        assert done["stopped_early"] and done["status"] == "completed" and done["progress"] == 1
        assert (done["steps_done"], done["steps_total"], done["bits_per_byte_held_out"]) == (4, 900, 1.0)
        assert await server.call("wait_job", job_id=done["job_id"], wait_s=0) == done


@pytest.mark.anyio
async def test_models_that_were_replaced_are_let_go(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        old = weakref.ref(server.workspace.runner.compute._executor.engines._entries["default"].engine)  # type: ignore[attr-defined]
        await server.call("infer", prompt="a", max_new_bytes=2)
        await server.call("init_model", **TINY, overwrite=True)
        gc.collect()
        assert old() is None


@pytest.mark.anyio
async def test_a_cancelled_save_or_init_did_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = server.state()
        running = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains()
        job = save(server.workspace, "never", "default", overwrite=False, pinned=False)
        server.workspace.runner.compute.stop_task(job.job_id)
        with anyio.fail_after(20):
            while not job.over:
                await anyio.sleep(0.01)
        if job.status == "cancelled":  # else it was quicker than the cancel, and everybody sees what it did
            assert "never" not in server.workspace.checkpoints.names()
        else:
            assert "never" in server.workspace.snapshot.checkpoints
        await server.call("cancel_job", job_id=running["job_id"])
        assert before[0].datasets == server.workspace.snapshot.datasets


@pytest.mark.anyio
async def test_damaged_small_files_stop_neither_the_start_nor_other_work(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        state = server.workspace.settings.state_dir
        for name, content in (("bad-1", ""), ("bad-2", '{"name": 5}'), ("bad-3", "[[[")):
            for kind, file in (("datasets", "about.json"), ("checkpoints", "manifest.json")):
                (state / kind / name).mkdir()
                (state / kind / name / file).write_text(content)
        await server.call("save_checkpoint", name="after")
        listed = await server.call("list_models")
        assert {"good", "after"} <= set(listed["checkpoints"]) and listed["datasets"] == ["data"]
        assert "'bad-2'" in await server.refusal("load_checkpoint", name="bad-2", model_id="n")
        assert "'bad-1' is damaged" in await server.refusal("train_step", dataset_id="bad-1")
        again = Workspace(ServerSettings(state_dir=state))
        assert again.snapshot.datasets.keys() == {"data"} and again.snapshot.checkpoints["bad-3"].damaged
        again.close()


@pytest.mark.anyio
async def test_the_files_of_a_folder_are_documents(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as server:
        one = await server.call("add_dataset", dataset_id="one", path="data.txt")
        assert "num_documents" not in one and "warning" not in one
        (server.files / "more.txt").write_text("a second file " * 20)
        folder = await server.call("add_dataset", dataset_id="folder", path=".")
        assert folder["num_documents"] == 2 and "warning" not in folder
        assert (await server.call("train_step", dataset_id="folder", steps=1, **WAIT))["step"] == 3
        monkeypatch.setattr("bitlm_mcp.dataset_files.MAX_DOCUMENTS", 1)
        monkeypatch.setattr("bitlm_mcp.tools.data.MAX_DOCUMENTS", 1)
        many = await server.call("add_dataset", dataset_id="folder", path=".", overwrite=True)
        assert many["warning"] == "2 files are more than the 1 that are kept apart: they are learned as one document"


@pytest.mark.anyio
async def test_the_forms_of_a_prompt_are_one(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        digits = "".join(map(str, bytes_to_bits(b"The")))
        forms = ({"prompt": "The"}, {"prompt_base64": base64.b64encode(b"The").decode()}, {"prompt_bits": digits})
        answers = [await server.call("infer", **form, max_new_bytes=8, seed=3) for form in forms]
        assert answers[0] == answers[1] == answers[2]
        assert "text" in answers[0] and answers[0]["num_bits"] == 72 and answers[0]["parity_ok"]


@pytest.mark.anyio
async def test_infer_waits_for_two_steps_at_most_and_a_cancel_for_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counted from the moment the server takes the call: how long the call travels is the machine's business."""
    async with stage(tmp_path) as server:
        taken_at: list[int] = []

        def noting_the_step(take: Callable[..., Any]) -> Callable[..., Any]:
            return lambda *job: (taken_at.append(server.workspace.model("default").step), take(*job))[1]

        job = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains(3)
        compute = server.workspace.runner.compute
        monkeypatch.setattr(compute, "submit", noting_the_step(compute.submit))
        for seed in range(5):
            answer = await server.call("infer", prompt="The", max_new_bytes=4, seed=seed)
            assert 0 <= answer["model_step"] - taken_at[-1] <= 2
        monkeypatch.setattr(compute, "stop_task", noting_the_step(compute.stop_task))
        cancelled = await server.call("cancel_job", job_id=job["job_id"])
        assert cancelled["status"] == "cancelled" and 0 <= cancelled["step"] - taken_at[-1] <= 1
        assert cancelled["step"] == server.workspace.model("default").step and len(taken_at) == 6
        # What was learned is kept, and the model goes on.
        again = await server.call("train_step", dataset_id="data", steps=1, **WAIT)
        assert again["step"] == cancelled["step"] + 1


@pytest.mark.anyio
async def test_a_call_that_its_client_gives_up_cancels_its_training(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        async with anyio.create_task_group() as calls:

            async def train() -> None:
                await server.call("train_step", dataset_id="data", seconds=600, wait_s=40)

            calls.start_soon(train)
            await server.until_it_trains()
            calls.cancel_scope.cancel()
        listed = await server.call("list_jobs", limit=1)
        job_id = listed["jobs"][0]["job_id"]
        stopped = await server.call("wait_job", job_id=job_id, wait_s=20)
        assert stopped["status"] == "cancelled"
        # Somebody who only watches a job may leave without harm.
        watched = await server.call("train_step", dataset_id="data", seconds=600, wait_s=0)
        await server.until_it_trains()
        with anyio.move_on_after(0.5):
            await server.call("wait_job", job_id=watched["job_id"], wait_s=40)
        assert (await server.call("wait_job", job_id=watched["job_id"], wait_s=0.2))["status"] == "running"
        await server.call("cancel_job", job_id=watched["job_id"])


@pytest.mark.anyio
async def test_the_gate_is_off_reports_or_withholds(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        asked = {"prompt": "The", "max_new_bytes": 80, "temperature": 0}  # two steps of training: it repeats itself
        plain = await server.call("infer", **asked)
        assert "verdict" not in plain
        warned = await server.call("infer", **asked, safety="warn")
        verdict = warned.pop("verdict")
        assert warned == plain and verdict["judged"] and not verdict["passed"]
        assert any(reason.startswith("C=") for reason in verdict["reasons"]) and verdict["c"] < 0.3
        text = await server.refusal("infer", **asked, safety="strict")
        assert "withheld" in text and "C=" in text and "safety='warn'" in text and plain["data_base64"] not in text
        short = await server.call("infer", prompt="The", max_new_bytes=8, safety="strict")
        assert short["verdict"] == {"passed": True, "judged": False, "reasons": []}


@pytest.mark.anyio
async def test_a_loaded_checkpoint_answers_as_before_with_its_history(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        asked = {"prompt": "The", "max_new_bytes": 16, "seed": 9}
        expected = await server.call("infer", **asked)
        loaded = await server.call("load_checkpoint", name="good", model_id="twin")
        assert loaded["step"] == 2
        assert await server.call("infer", model_id="twin", **asked) == expected
        telemetry = [await server.call("get_telemetry", model_id=name) for name in ("default", "twin")]
        assert telemetry[0]["history"] == telemetry[1]["history"] != {"step": []}
        listed = await server.call("list_models")
        assert [model["model_id"] for model in listed["models"]] == ["default", "twin"]
        assert listed["checkpoints"] == ["damaged", "good"] and listed["datasets"] == ["data"]
