"""Compressed and direct training over the protocol: what it tells, what it leaves untold, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from bitlm_core import CodecError
from bitlm_core.training import compressed
from tests.mcp.stages import WAIT, stage


def _fails(*_: Any, **__: Any) -> Any:
    raise CodecError("no memory is left")


@pytest.mark.anyio
async def test_a_training_tells_its_ways_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with stage(tmp_path) as server:
        before = await server.call("get_telemetry", full=True)
        assert not {name for name in before if name.endswith(("_raw", "_compressed", "_direct"))}
        ways = {"compress_prob": 0.6, "direct_prob": 0.4, "batch_size": 12}
        done = await server.call("train_step", dataset_id="data", steps=3, **ways, **WAIT)
        feed = done["feed"]
        assert 0 < feed["loss_direct"] < 8 and 0 < feed["accuracy_compressed"] < 1 and feed["codec_fallbacks"] == 0
        assert feed["ratio_direct"] == feed["ratio_compressed"] == pytest.approx(1 + 3 / 64, abs=1e-3)
        told = await server.call("get_telemetry", full=True)
        assert told["loss_direct"] == feed["loss_direct"] and told["codec_fallbacks"] == 0
        assert [look is not None for look in told["history"]["loss_direct"]] == [False, False, True, True, True]
        assert "history.loss_direct" in (await server.call("get_telemetry"))["left_out"]["figures"]
        monkeypatch.setattr(compressed, "compress_bits", _fails)
        fallen_back = await server.call("train_step", dataset_id="data", steps=2, **ways, **WAIT)
        assert fallen_back["feed"]["codec_fallbacks"] > 0 and "loss_direct" not in fallen_back["feed"]
        alerts = (await server.call("get_telemetry", full=True))["alerts"]
        assert len(alerts) == 1 and "run-length coding failed" in alerts[0] and "no memory is left" in alerts[0]
        done = await server.call("train_step", dataset_id="data", steps=1, **WAIT)
        assert "feed" not in done and not server.workspace.model("default").config["training"]["direct_prob"]


@pytest.mark.anyio
async def test_what_does_not_go_together_is_refused_before_anything_happens(tmp_path: Path) -> None:
    async with stage(tmp_path) as server:
        before = server.state()
        for asked, said in (
            ({"compress_prob": 0.6, "direct_prob": 0.6}, "add up to more than 1"),
            ({"direct_prob": 0.5, "carry": True}, "without carry"),
            ({"compress_prob": 0.5, "objective": "diffusion"}, "objective='causal'"),
            ({"direct_prob": 1.5}, "direct_prob"),
        ):
            assert said in await server.refusal("train_step", dataset_id="data", **asked)
        assert server.state() == before
