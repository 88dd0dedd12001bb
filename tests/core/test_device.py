"""Memory is estimated before it is taken, and the estimate is an upper one."""

from __future__ import annotations

import resource
import subprocess
import sys
from typing import Any

import pytest

from bitlm_core import EngineConfig, ResourceLimitError, TrainingConfig, estimate_engine_bytes, preset_config, require_memory
from bitlm_core.models.config import Architecture, Preset

MEASURE = """
import sys, torch, bitlm_core as b
from pathlib import Path
def peak():  # of this program alone: getrusage would count what its parent held when it was started
    line = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:"))
    return 1024 * int(line.split()[1])
torch.set_num_threads(1)
config = b.EngineConfig.model_validate_json(sys.argv[1])
small = b.Engine(b.EngineConfig(model=b.preset_config("tiny", max_seq_len=16)))
data = b.bytes_in_memory(bytes(range(256)) * 40)  # enough for a full batch of windows of every model below
list(small.train_steps(data, b.TrainingPlan(steps=1)))
Path("/proc/self/clear_refs").write_text("5")  # the peak starts anew here
before = peak()
engine = b.Engine(config)
list(engine.train_steps(data, b.TrainingPlan(steps=2)))
list(engine.evaluate_steps(data.array))
print(peak() - before)
"""


@pytest.mark.parametrize(
    ("preset", "architecture", "batch_size", "use_autocast", "fields"),
    [
        pytest.param(*("tiny", "bit", 2, False, {"dropout": 0.1}), marks=pytest.mark.slow),
        pytest.param(
            *("small", "byte", 4, True, {"attention": "differential", "reversible": True, "max_seq_len": 1024}),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            *("small", "byte", 4, True, {"use_checkpoint": True, "max_seq_len": 2048, "chunk_size": 128, "use_act": True}),
            marks=pytest.mark.slow,
        ),
        ("tiny", "patch", 1, True, {"patching": "fixed", "stride": 1, "max_seq_len": 2048}),
    ],
)
def test_the_estimate_is_an_upper_one_and_not_absurd(
    preset: Preset, architecture: Architecture, batch_size: int, use_autocast: bool, fields: dict[str, Any]
) -> None:
    model = preset_config(preset, architecture, **fields)
    training = TrainingConfig(batch_size=batch_size, use_autocast=use_autocast)
    config = EngineConfig(model=model, training=training, mixing=None)
    command = [sys.executable, "-c", MEASURE, config.model_dump_json()]
    measured = int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
    assert measured < estimate_engine_bytes(config) < 4 * measured


def test_of_patches_what_is_between_bytes_and_patches_is_counted_too() -> None:
    def estimate(**fields: Any) -> int:
        return estimate_engine_bytes(EngineConfig(model=preset_config("small", "patch", **fields), mixing=None))

    long = {"max_seq_len": 16_384}
    assert estimate(**long, mean_patch_size=2) > estimate(**long, mean_patch_size=8)
    assert estimate(**long, entropy_threshold=2.0) == estimate(**long, patching="fixed", stride=1)  # one a byte, at most
    assert estimate(max_seq_len=131_072) > 8 * 131_072**2 / 2
    assert estimate(**long, mean_patch_size=8, diffusion="own") > estimate(**long, mean_patch_size=8)


def test_too_much_is_refused_with_the_numbers() -> None:
    with pytest.raises(ResourceLimitError, match="Nothing was allocated") as caught:
        require_memory(7 << 30, "model 'x'", free=10 << 30)
    assert (caught.value.estimate, caught.value.limit) == (7 << 30, 6 << 30)
    require_memory(5 << 30, "model 'x'", free=10 << 30)


def test_the_largest_allowed_sizes_are_estimated_without_being_made() -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    model = preset_config("base", d_model=8192, num_layers=128, max_seq_len=131_072)
    assert estimate_engine_bytes(EngineConfig(model=model)) > 1 << 40
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 << 10
