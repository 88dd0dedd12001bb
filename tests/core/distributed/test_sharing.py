"""Two processes that share a training, each way, against one that does it alone. Each case: `sharing.py`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import sharing
import worlds

from bitlm_core import CheckpointCorruptError, ConfigError, EngineConfig, Shards, TrainingConfig, TrainingPlan, preset_config
from bitlm_core.distributed.parallel import check_parallel, micro_batches

SAME = 1e-5
"""Of losses: sums of two halves are rounded in other places than sums of the whole."""
MUON = 5e-4
"""Muon rounds to bf16 on the way, and so makes more of it; with equal parts nothing is rounded elsewhere ("ddp parts")."""
LEFT = [name for name in sharing.CASES if name not in sharing.ALWAYS]
SLOWLY_RESUMED = ("ddp", "pipeline")


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> dict[str, Any]:
    """Of all cases that are asked for, trained by two processes once."""
    out = tmp_path_factory.mktemp("sharing") / "told.json"
    slow = request.config.getoption("--slow")
    cases = [*LEFT, *SLOWLY_RESUMED, "halt apart"] if slow else [*sharing.ALWAYS, "fsdp"]
    worlds.run_world(Path(sharing.__file__), str(out), *cases)
    found: dict[str, Any] = json.loads(out.read_text())
    return found | {"folder": out.parent}


def _holds(name: str, told: dict[str, Any]) -> None:
    ours, case = told[name], sharing.CASES[name]
    exact = case.parallel == "ddp" and case.parts == 2
    largest = max(abs(one - alone) for one, alone in zip(ours["losses"], ours["expected"], strict=True))
    assert len(ours["losses"]) == case.steps.steps
    assert ours["losses"][-1] < ours["losses"][0] - 0.01
    assert largest <= (0.0 if exact else MUON if "muon" in name else SAME)
    assert not exact or ours["weights"] == 0.0
    assert ours["other_names"] == []
    if case.mixing:  # which reads with the network as it is
        assert ours["mixed"][0] == pytest.approx(ours["mixed"][1], abs=1e-4)


@pytest.mark.parametrize("name", sharing.ALWAYS)
def test_losses_of_two_processes_are_those_of_one(name: str, told: dict[str, Any]) -> None:
    _holds(name, told)


@pytest.mark.slow
@pytest.mark.parametrize("name", LEFT)
def test_so_they_are_whatever_the_options(name: str, told: dict[str, Any]) -> None:
    _holds(name, told)


def test_matrices_that_are_spread_over_processes_move_as_whole_ones(told: dict[str, Any]) -> None:
    assert len(told["muon of shards"]) == 6
    assert all(apart < 0.02 * moved for apart, moved in told["muon of shards"])  # in bf16, in batches of other sizes


@pytest.mark.slow
def test_a_block_is_computed_where_the_rows_of_one_process_alone_need_it(told: dict[str, Any]) -> None:
    assert told["halt apart"]["mean_layers"] == 1.0


def test_the_network_is_brought_up_to_date_before_held_out_data_is_looked_at(told: dict[str, Any]) -> None:
    ours, alone = ([look for look in looks if look is not None] for looks in told["fsdp mixing"]["held_out"])
    assert ours == pytest.approx(alone, abs=1e-5)
    assert len(ours) == 2


def _goes_on(way: str, told: dict[str, Any]) -> None:
    assert told[way]["compared"] > 50
    assert told[way]["differing"] == []


def test_a_run_goes_on_from_its_shards_as_if_nothing_had_been(told: dict[str, Any]) -> None:
    _goes_on("fsdp", told)


def test_a_damaged_checkpoint_says_so_and_gives_way_to_the_one_before(told: dict[str, Any]) -> None:
    shards = Shards(told["folder"] / "fsdp True")
    newest = shards.newest()
    assert newest is not None
    for name in (".metadata", "rest.safetensors", "__0_0.distcp"):
        whole = (newest / name).read_bytes()
        (newest / name).write_bytes(whole[: len(whole) // 2])
        with pytest.raises(CheckpointCorruptError, match="remove it to go on from the one before"):
            shards.engine()
        (newest / name).write_bytes(whole)
    shutil.rmtree(newest)
    before = shards.engine()
    assert before is not None and before.step == 6


def test_a_run_goes_on_where_a_checkpoint_could_not_be_written(told: dict[str, Any]) -> None:
    refused = told["refused"]
    assert "not everyone could write its share (process 1: " in refused["said"]
    assert (refused["kept"], refused["step"]) == ("None", 1)


@pytest.mark.slow
@pytest.mark.parametrize("way", SLOWLY_RESUMED)
def test_so_it_does_whoever_has_written_them(way: str, told: dict[str, Any]) -> None:
    _goes_on(way, told)


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
