"""Two processes that share a training, each way, against one that does it alone. Each case: `sharing.py`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import sharing
import worlds

from bitlm_core import ConfigError, EngineConfig, TrainingConfig, TrainingPlan, preset_config
from bitlm_core.distributed.parallel import check_parallel, micro_batches

SAME = 1e-5
"""Of losses: sums of two halves are rounded in other places than sums of the whole."""
MUON = 5e-4
"""Muon rounds to bf16 on the way, and so makes more of it; with equal parts nothing is rounded elsewhere ("ddp parts")."""


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Of all cases, trained by two processes once."""
    out = tmp_path_factory.mktemp("sharing") / "told.json"
    worlds.run_world(Path(sharing.__file__), str(out))
    found: dict[str, Any] = json.loads(out.read_text())
    return found


@pytest.mark.parametrize("name", sharing.CASES)
def test_losses_of_two_processes_are_those_of_one(name: str, told: dict[str, Any]) -> None:
    case, found = told[name], sharing.CASES[name]
    largest = max(abs(ours - alone) for ours, alone in zip(case["losses"], case["expected"], strict=True))
    assert len(case["losses"]) == found.steps.steps
    assert case["losses"][-1] < case["losses"][0] - 0.01
    assert largest <= (0.0 if found.parallel == "ddp" and found.parts == 2 else MUON if "muon" in name else SAME)
    assert case["other_names"] == []
    if found.parallel == "ddp" and found.parts == 2:
        assert case["weights"] == 0.0


@pytest.mark.parametrize("name", [name for name, case in sharing.CASES.items() if case.mixing])
def test_the_context_mixer_reads_with_the_network_as_it_is(name: str, told: dict[str, Any]) -> None:
    ours, alone = told[name]["mixed"]
    assert ours == pytest.approx(alone, abs=1e-4)


def test_the_network_is_brought_up_to_date_before_held_out_data_is_looked_at(told: dict[str, Any]) -> None:
    looks = [look for look in told["fsdp mixing"]["held_out"][0] if look is not None]
    assert looks == pytest.approx([look for look in told["fsdp mixing"]["held_out"][1] if look is not None], abs=1e-5)
    assert len(looks) == 2


@pytest.mark.parametrize("way", sharing.WAYS)
def test_a_run_goes_on_from_its_shards_as_if_nothing_had_been(way: str, told: dict[str, Any]) -> None:
    assert told[f"{way} shards"]["compared"] > 50
    assert told[f"{way} shards"]["differing"] == []


def test_what_cannot_be_shared_is_refused() -> None:
    def refused(
        why: str, *, parallel: Any = "ddp", size: int = 2, plan: Any = None, model: Any = None, **training: Any
    ) -> None:
        config = EngineConfig(model=preset_config("tiny", **model or {}), training=TrainingConfig(**training))
        with pytest.raises(ConfigError, match=why):
            check_parallel(config, TrainingPlan(**{"steps": 1} | (plan or {})), parallel, size)

    refused("carry=true is for one process", plan={"carry": True})
    refused("direct_prob is for one process", direct_prob=0.5)
    refused("batch_size=8 is too little for 9 processes", size=9)
    refused("share 8 windows at least", size=4, plan={"objective": "mixed"}, batch_size=7)
    refused("objective='diffusion' needs the whole network", parallel="pipeline", plan={"objective": "diffusion"})
    refused("use_act needs the whole network", parallel="pipeline", model={"use_act": True})
    refused("fewer than 64 processes", parallel="pipeline", size=64, batch_size=64)
    refused("batch_size=7 cannot be cut into 2 parts", parallel="pipeline", batch_size=7)
    with pytest.raises(ConfigError, match="architecture='mix' has no network"):
        check_parallel(EngineConfig(model=preset_config(None, "mix")), TrainingPlan(steps=1), "ddp", 2)


@pytest.mark.parametrize(("rows", "size", "accumulation", "parts"), [(8, 2, 1, 4), (8, 2, 4, 8), (6, 4, 1, 6), (7, 2, 1, 1)])
def test_small_batches_are_of_one_size(rows: int, size: int, accumulation: int, parts: int) -> None:
    assert micro_batches(rows, size, accumulation) == parts
