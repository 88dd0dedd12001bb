"""`bitlm repair` and its benchmark: a new file, never the old one, and one line for what fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from bitlm_core import (
    Engine,
    EngineConfig,
    MixingConfig,
    TrainingPlan,
    bytes_in_memory,
    bytes_to_bits,
    preset_config,
    write_file,
)
from tests.mcp.command_line import done, refused

LINES = b"".join(b"%d bottles of beer on the wall, take one down and pass it around\n" % (7 * i % 100) for i in range(40))


@pytest.fixture
def source(tmp_path: Path) -> Path:
    damaged = bytearray(LINES)
    damaged[1500] = damaged[1501] = 35
    path = tmp_path / "in"
    path.write_bytes(damaged)
    return path


def test_ranges_parity_and_suspicion(source: Path, tmp_path: Path) -> None:
    before, target = source.read_bytes(), tmp_path / "out"
    told = done("repair", source, target, "--ranges", "1500:2")
    assert target.read_bytes() == LINES and "1,501  0x23 -> 0x" in told
    assert "2 places examined, 2 bytes proposed, of 2,596" in told
    assert source.read_bytes() == before
    shape = EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))
    engine = Engine(shape)
    assert list(engine.train_steps(bytes_in_memory(LINES), TrainingPlan(steps=9)))
    write_file(tmp_path / "model", *engine.state())
    told = done("repair", source, target, "--surprising", 9, "--checkpoint", tmp_path / "model", "--force", "--json")
    found = json.loads(told)
    assert found["num_places"] == 9 and [row["offset"] for row in found["proposals"]] == [1500, 1501]
    assert target.read_bytes() == LINES
    bits = bytes_to_bits(LINES)
    bits[9 * 1504 + 3] ^= 1
    source.write_bytes(np.packbits(bits).tobytes())
    done("repair", source, target, "--parity", "--force")
    assert target.read_bytes() == np.packbits(bytes_to_bits(LINES)).tobytes()


def test_what_cannot_be_done_changes_nothing(source: Path, tmp_path: Path) -> None:
    before, target = source.read_bytes(), tmp_path / "out"
    linked = tmp_path / "link"
    linked.symlink_to(source)
    for same in (source, linked):
        assert "never overwritten" in refused("repair", source, same, "--ranges", "0:1", "--force")
    assert "is a folder: name one of its files" in refused("repair", tmp_path, target, "--ranges", "0:1")
    assert "exactly one of" in refused("repair", source, target)
    assert "--ranges, --parity was given" in refused("repair", source, target, "--ranges", "0:1", "--parity")
    assert "'7' is no range" in refused("repair", source, target, "--ranges", "0:1,7")
    assert "within the 2,596 bytes" in refused("repair", source, target, "--ranges", "2596:1")
    assert "no file, checkpoint or model 'x'" in refused(
        "repair", source, target, "--ranges", "0:1", "--checkpoint", "x", "--state-dir", tmp_path / "state"
    )
    assert not target.exists() and source.read_bytes() == before
    target.write_bytes(b"mine")
    assert "exists already" in refused("repair", source, target, "--ranges", "0:1")
    assert target.read_bytes() == b"mine"


def test_the_benchmark_ends_with_its_figures(source: Path) -> None:
    source.write_bytes(LINES)
    arguments = ("bench", "repair", "--data", source, "--rate", 0.05, "--mixing-memory-mib", 8)
    found = json.loads(done(*arguments, "--train-share", 0.5, "--json").splitlines()[-1])
    assert found["damaged"] == 65 and found["bytes_learned"] == found["bytes_repaired"] == len(LINES) // 2
    assert found["exact"] > 0.8 and found["precision_exact"] <= found["precision"] <= 1
    assert found["recall_exact"] <= found["recall"] <= 1 and found["architecture"] == "mix"
    assert "use architecture='mix'" in refused(*arguments, "--train-share", 0, "--architecture", "byte")
