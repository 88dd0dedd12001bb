"""A byte-latent model over the protocol: made, trained, asked, watched, kept and continued; what it does not do, it says."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp.monitoring import Monitoring
from tests.mcp.stages import WAIT, Stage, stage

MADE = {"architecture": "patch", "preset": "tiny", "d_model": 32, "max_seq_len": 64, "mixing_memory_mib": 8}
DATA = {"model_id": "p", "dataset_id": "data"}


@pytest.mark.anyio
async def test_a_day_with_patches(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        made = await server.call("init_model", model_id="p", **MADE, mean_patch_size=3, diffusion="own")
        assert made["config"]["model"]["patch"]["patching"]["mean_patch_size"] == 3
        done = await server.call("train_step", **DATA, steps=10, objective="mixed", validate_every=5, **WAIT)
        assert done["status"] == "completed" and done["bits_per_byte_held_out"] > 0
        await _watched(server)
        scored = await server.call("score", **DATA, **WAIT)
        assert 0 < scored["bits_per_byte_static"] < 9 and scored["bits_per_byte_network"] < 9
        long = await server.call("infer_long", **DATA, ctx_bits=270, overlap=90, **WAIT)
        assert long["status"] == "completed"
        filled = await server.call("diffusion_sample", model_id="p", prefix="The ", num_bytes=3, steps=2)
        assert len(base64.b64decode(filled["data_base64"])) == 3
        packed = await server.call("compress", model_id="p", text="the quick brown fox " * 4, **WAIT)
        back = await server.call("decompress", model_id="p", data_base64=packed["data_base64"], **WAIT)
        assert back["text"] == "the quick brown fox " * 4
        seen = await server.call("inspect_patches", **DATA, **WAIT)
        assert seen["mean"] == pytest.approx(3, rel=0.2)  # a text that repeats itself has few thresholds
        await _kept(server)


async def _watched(server: Stage) -> None:
    """The same figures wherever they are read."""
    told = await server.call("get_telemetry", model_id="p", full=True)
    sizes = told["patch_histogram"]
    assert 1 < told["patch_mean"] < 6 and told["patch_spread"] > 0 and told["history"]["patch_mean"][-1] == told["patch_mean"]
    assert sum(size * count for size, count in enumerate(sizes, 1)) / sum(sizes) == pytest.approx(told["patch_mean"])
    short = await server.call("get_telemetry", model_id="p")
    assert short["patch_mean"] == told["patch_mean"] and "patch_histogram" not in short
    assert {"patch_histogram", "history.patch_mean", "history.patch_spread"} <= set(short["left_out"]["figures"])
    assert not [name for name in await server.call("get_telemetry") if name.startswith("patch")]
    families = {family.name: family for family in Monitoring(server.workspace, [])._registry.collect()}
    (sample,) = families["bitlm_model_patch_mean"].samples
    assert (sample.labels["model"], sample.value) == ("p", told["patch_mean"])


async def _kept(server: Stage) -> None:
    """A checkpoint answers as the model does, and both learn on in the same way."""
    await server.call("save_checkpoint", name="kept", model_id="p")
    await server.call("load_checkpoint", name="kept", model_id="again")
    said: list[Any] = []
    for model in ("p", "again"):
        before = await server.call("infer", model_id=model, prompt="the ", max_new_bytes=12, seed=4)
        learned = await server.call("train_step", model_id=model, dataset_id="data", steps=3, **WAIT)
        after = await server.call("infer", model_id=model, prompt="the ", max_new_bytes=12, seed=4)
        said.append((before["data_base64"], learned["bits_per_byte"], after["data_base64"]))
    assert said[0] == said[1]


@pytest.mark.anyio
async def test_what_patches_cannot_do_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        await server.call("init_model", model_id="p", **MADE)
        before = server.state()
        for arguments, reason in (
            ({"objective": "diffusion"}, "make the model with diffusion='own'"),
            ({"objective": "mixed"}, "make the model with diffusion='own'"),
            ({"carry": True}, "carries no keys and values"),
        ):
            assert reason in await server.refusal("train_step", **DATA, steps=1, **arguments)
        assert server.state() == before
        assert "read without carrying" in await server.refusal("infer_long", **DATA, carry=True, **WAIT)
        assert "diffusion='own'" in await server.refusal("diffusion_sample", model_id="p", num_bytes=4)
        assert "architecture='byte' has no patches" in await server.refusal("init_model", model_id="b", patching="space")
