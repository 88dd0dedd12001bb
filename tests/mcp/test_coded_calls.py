"""Codecs over the protocol: data that comes compressed, answers that go out compressed, and what is said where that fails."""

from __future__ import annotations

import base64
import zlib
from typing import Any

import numpy as np
import pytest

from bitlm_core import finished, general_codec
from bitlm_core.compression import codecs
from bitlm_mcp.tools import sources
from tests.mcp.stages import client
from tests.mcp.test_compression import refused, told
from tests.mcp.workspaces import Server

SHORT = b"the quick brown fox, and the slow one; " * 4
INFER: dict[str, Any] = {"model_id": "m", "max_new_bytes": 24, "seed": 5}


def packed(data: bytes, codec: str = "zlib") -> str:
    return base64.b64encode(finished(general_codec(codec).encode_steps(np.frombuffer(data, np.uint8)))).decode()


def unpacked(text: str, codec: str) -> bytes:
    return finished(general_codec(codec).decode_steps(base64.b64decode(text), 1 << 20))


@pytest.mark.anyio
async def test_compress_and_decompress_with_each_codec(made: Server) -> None:
    async with client(made) as asked:
        for codec in ("rle", "zlib", "lzma", "zstd"):
            found = await told(asked, "compress", text=SHORT.decode(), codec=codec)
            assert found["mode"] == codec and found["next"] == f"decompress(job_id={found['job_id']!r}, codec={codec!r})"
            assert found["ratio"] == found["compressed_bytes"] / len(SHORT) and found["seconds"] > 0
            assert found["data_base64"] == packed(SHORT, codec)
            back = await told(asked, "decompress", job_id=found["job_id"], codec=codec)
            assert back["text"] == SHORT.decode() and back["ratio"] == found["ratio"] and back["seconds"] > 0
            assert "not made by" in await refused(asked, "decompress", job_id=found["job_id"])
        assert "damaged at byte 0" in await refused(asked, "decompress", data_base64=packed(SHORT), codec="zstd")
        wrong = {"text": "x", "codec": "zlib", "model_id": "m", "records": "lines"}
        assert "leave out model_id='m', records='lines'" in await refused(asked, "compress", **wrong)
        assert "leave out record=0" in await refused(asked, "decompress", data_base64="eA==", codec="zlib", record=0)


@pytest.mark.anyio
async def test_data_that_comes_compressed_is_the_data(made: Server) -> None:
    sent = {"data_base64": packed(SHORT), "compress_input": "zlib"}
    ratio = len(base64.b64decode(sent["data_base64"])) / len(SHORT)
    async with client(made) as asked:
        for tool, more in (("score", {"model_id": "m"}), ("compress", {})):
            plain = await told(asked, tool, text=SHORT.decode(), **more)
            found = await told(asked, tool, **sent, **more)
            assert found["bits_per_byte"] == plain["bits_per_byte"] and "input_ratio" not in plain
            assert (found["input_codec"], found["input_ratio"]) == ("zlib", ratio)
        prompt = {"prompt_base64": sent["data_base64"], "compress_input": "zlib"}
        short = packed(b"the quick ")
        found = await told(asked, "infer", prompt_base64=short, compress_input="zlib", **INFER)
        plain = await told(asked, "infer", prompt="the quick ", **INFER)
        assert found["data_base64"] == plain["data_base64"] and found["input_ratio"] == 1.8
        long = await told(asked, "infer_long", model_id="m", **prompt)
        assert long["num_bits"] == 9 * len(SHORT) and long["input_ratio"] == ratio
        assert "window" in await refused(asked, "infer", **prompt, **INFER)


@pytest.mark.anyio
async def test_nothing_is_learned_from_what_is_damaged_or_too_much(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(made) as asked:
        before = made.workspace.model("m").step
        damaged = base64.b64encode(zlib.compress(SHORT, 9)[:-1]).decode()
        training = {"model_id": "m", "steps": 1, "compress_input": "zlib"}
        assert "it ends too early" in await refused(asked, "train_step", **training, data_base64=damaged)
        assert "only base64 can be" in await refused(asked, "train_step", **training, text="x")
        assert "only base64 can be" in await refused(asked, "train_step", **training, dataset_id="data")
        assert "holds 0 bytes" in await refused(asked, "train_step", **training, data_base64=packed(b""))
        resumed = {"model_id": "m", "resume_job": "job-x", "compress_input": "zlib"}
        assert "pass no others" in await refused(asked, "train_step", **resumed)
        with monkeypatch.context() as patched:
            patched.setattr(sources, "MAX_UNPACKED", 100)
            assert "more than the 100 bytes" in await refused(asked, "train_step", **training, data_base64=packed(SHORT))
        assert made.workspace.model("m").step == before
        found = await told(asked, "train_step", **training, data_base64=packed(SHORT), wait_s=40)
        assert found["step"] == before + 1 == made.workspace.model("m").step and found["input_codec"] == "zlib"


@pytest.mark.anyio
async def test_answers_that_go_out_compressed_say_the_same(made: Server) -> None:
    async with client(made) as asked:
        plain = await told(asked, "infer", prompt="the quick ", **INFER)
        found = await told(asked, "infer", prompt="the quick ", **INFER, compress_output="zlib")
        raw = base64.b64decode(plain["data_base64"])
        assert unpacked(found["data_base64"], "zlib") == raw and found["text"] is None and "warning" not in found
        assert found["output_codec"] == "zlib" and found["output_seconds"] > 0
        assert found["output_ratio"] == len(base64.b64decode(found["data_base64"])) / len(raw)
        for same in ("telemetry", "bits_per_byte", "num_bits", "parity_ok"):  # of the bytes, not of what they travel as
            assert found[same] == plain[same]
        own = await told(asked, "infer", prompt="the quick ", **INFER, compress_output="model")
        back = await told(asked, "decompress", data_base64=own["data_base64"], model_id="m")
        assert base64.b64decode(back.get("data_base64", "")) == raw or back.get("text") == plain["text"]
        plain = await told(asked, "infer_long", model_id="m", dataset_id="data")
        found = await told(asked, "infer_long", model_id="m", dataset_id="data", compress_output="rle")
        assert unpacked(found["predicted_bits_base64"], "rle") == base64.b64decode(plain["predicted_bits_base64"])
        assert found["output_codec"] == "rle" and found["windows"] == plain["windows"]


@pytest.mark.anyio
async def test_a_failing_codec_leaves_the_answer_as_it_is_and_says_so(made: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codecs, "_zstandard", None)
    async with client(made) as asked:
        filling = {"model_id": "m", "num_bytes": 8, "steps": 1, "compress_output": "zstd"}
        found = await told(asked, "diffusion_sample", **filling)
        assert (found["output_codec"], found["output_ratio"]) == ("raw", 1) and len(base64.b64decode(found["data_base64"])) == 8
        untrained, failed = found["warning"].split("; codec ")
        assert "never been trained" in untrained and failed.startswith("zstd failed, so the bytes are not compressed")
        found = await told(asked, "infer", prompt="the", **INFER, compress_output="zstd")
        assert found["warning"].startswith("codec zstd failed") and len(base64.b64decode(found["data_base64"])) == 24
        text = {"data_base64": "eA==", "compress_input": "zstd"}
        assert "needs the package zstandard" in await refused(asked, "score", model_id="m", **text)
