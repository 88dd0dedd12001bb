"""Calls over the protocol: bad input is refused and changes nothing; asking, loading and files go together."""

from __future__ import annotations

import base64
import gc
import re
import weakref
from pathlib import Path
from typing import Any

import pytest

from bitlm_core import bytes_to_bits
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace
from tests.mcp.stages import TINY, WAIT, stage

ONE_GROUP_WRONG_PARITY = "010000011"

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
    ("an offset past the end", "show_surprise", {"text": "abc", "offset": 3}, "offset=3 is past the end.* 3 bytes"),
    ("shown is not looked at", "show_surprise", {"text": "abc", "offset": 1, "shown_at": 0}, "shown_at=0 is none of.* 1 to 2"),
    ("shown after what is looked at", "show_surprise", {"text": "abc", "num_bytes": 2, "shown_at": 2}, "0 to 1: choose one"),
    ("two data to show", "show_surprise", {"text": "a", "dataset_id": "data"}, "dataset_id, text were given"),
    ("more than is shown", "show_surprise", {"text": "a", "num_bytes": 1_048_577}, "num_bytes must be .*at most 1,048,576"),
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
    ("gaps of none", "diffusion_sample", {"template": "all is known"}, "holds no '_'"),
    ("gaps of two kinds", "diffusion_sample", {"template": "a_c", "num_bytes": 4}, "num_bytes=4 does not go with a template"),
    (
        "two templates",
        "diffusion_sample",
        {"template": "a_", "template_base64": "YV8="},
        "template, template_base64 were given",
    ),
    ("gap of no template", "diffusion_sample", {"gap": "?"}, "but none was given"),
    ("too many gaps", "diffusion_sample", {"template": "_" * 8_193}, "8,193 unknown bytes, and 8,192"),
    ("order of flips", "diffusion_sample", {"method": "flip", "order": "random"}, "neither order nor remask"),
    ("no valid filling", "diffusion_sample", {"template_base64": "/19f", "constraint": "utf8"}, "0xFF at byte 0 cannot"),
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
async def test_models_that_were_replaced_are_let_go(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        old = weakref.ref(server.workspace.runner.compute._executor.engines._entries["default"].engine)  # type: ignore[attr-defined]
        await server.call("infer", prompt="a", max_new_bytes=2)
        await server.call("init_model", **TINY, overwrite=True)
        gc.collect()
        assert old() is None


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
async def test_the_gate_is_off_reports_or_withholds(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        asked = {"prompt": "The", "max_new_bytes": 80, "temperature": 0}  # two steps of training: it repeats itself
        plain = await server.call("infer", **asked)
        assert "verdict" not in plain
        warned = await server.call("infer", **asked, safety="warn")
        verdict, gate = warned.pop("verdict"), warned.pop("gate")
        assert warned == plain and verdict["judged"] and not verdict["passed"] and gate["num_judged"] == 1
        assert any(reason.startswith("C 0.") for reason in verdict["reasons"]) and verdict["c"] < 0.3
        pending = await server.call("infer", **asked, safety="strict")
        assert pending["status"] == "pending" and "text" not in pending and "data_base64" not in pending
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
