"""Operations per byte: as PyTorch counts them in a real pass of training, over a batch of full windows."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from bitlm_core import ConfigError, ModelConfig, flops_per_byte, preset_config
from bitlm_core.models.build import build_model

ROWS = 24
SIZES: dict[str, Any] = {"d_model": 64, "nhead": 2, "num_layers": 2, "dim_feedforward": 160, "ngram_rows": 64}
PATCHES = SIZES | {"max_seq_len": 96, "patching": "fixed", "local_width": 32, "local_chunk": 16}


def counted(config: ModelConfig) -> float:
    """What the counter finds. It knows the products that attention is made of, not PyTorch's own kernel of it for CPUs."""
    model = build_model(config).train()
    data = torch.randint(0, 256, (ROWS, config.max_bytes), generator=torch.Generator().manual_seed(1))
    with FlopCounterMode(display=False) as counter, torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
        model.path_logits(data)
    return counter.get_total_flops() / data.numel()


@pytest.mark.parametrize(
    ("architecture", "options"),
    [
        ("byte", {"attention": "full", "max_seq_len": 96}),
        ("byte", {"chunk_size": 16, "max_seq_len": 96}),
        ("byte", {"chunk_size": 20, "overlap": 7, "max_seq_len": 90}),
        ("byte", {"chunk_size": 64, "max_seq_len": 96}),
        ("byte", {"attention": "differential", "max_seq_len": 96}),
        ("byte", {"attention": "differential", "chunk_size": 16, "max_seq_len": 90, "use_act": True}),
        ("byte", {"attention": "full", "max_seq_len": 64, "diffusion": "shared"}),
        ("bit", {"attention": "full", "max_seq_len": 90, "ngram_rows": None}),
        ("bit", {"chunk_size": 27, "max_seq_len": 90, "ngram_rows": None, "diffusion": "own"}),
    ],
)
def test_of_bytes_and_bits_it_is_what_pytorch_counts(architecture: Any, options: dict[str, Any]) -> None:
    config = preset_config("tiny", architecture, **{**SIZES, **options})
    assert flops_per_byte(config) == pytest.approx(counted(config), rel=0.02)


@pytest.mark.parametrize(
    ("stride", "options"),
    [
        (1, {}),
        (2, {"ngram_rows": 0}),
        (4, {}),
        (8, {"slots": 4}),
        (4, {"attention": "differential"}),
        (4, {"chunk_size": 4}),
        (2, {"attention": "differential", "chunk_size": 4, "overlap": 2}),
        (4, {"memory_span": 3}),
        (8, {"encoder_layers": 2, "decoder_layers": 3, "local_chunk": 128}),
        (4, {"diffusion": "own", "max_seq_len": 90}),
    ],
)
def test_of_patches_it_is_what_pytorch_counts(stride: int, options: dict[str, Any]) -> None:
    config = preset_config("tiny", "patch", stride=stride, **{**PATCHES, **options})
    assert flops_per_byte(config) == pytest.approx(counted(config), rel=0.05)
    assert flops_per_byte(config, stride) == flops_per_byte(config)


def test_longer_patches_cost_less() -> None:
    config = preset_config("small", "patch")
    assert flops_per_byte(config) == flops_per_byte(config, 4.0)
    found = [flops_per_byte(config, mean) for mean in (1.0, 2.0, 4.0, 8.0)]
    assert found == sorted(found, reverse=True) and found[0] > 2 * found[2]
    assert flops_per_byte(ModelConfig(architecture="mix")) == 0.0


def test_what_has_no_answer_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"mean_patch_size=0\.5 is below 1"):
        flops_per_byte(preset_config("tiny", "patch"), 0.5)
    with pytest.raises(ConfigError, match="mean_patch_size=0 is below 1"):
        flops_per_byte(preset_config("tiny", "patch"), 0)
    with pytest.raises(ConfigError, match="mean_patch_size=4 means nothing with architecture='byte'"):
        flops_per_byte(preset_config("tiny"), 4)
    for options in ({"patching": "space"}, {"entropy_threshold": 2.0}):
        with pytest.raises(ConfigError, match="the data decides"):
            flops_per_byte(preset_config("tiny", "patch", **options))
    assert flops_per_byte(preset_config("tiny", "patch", entropy_threshold=2.0, adaptive=True)) > 0


def test_it_needs_no_torch() -> None:
    code = "import sys, bitlm_core as b; b.flops_per_byte(b.preset_config('tiny')); assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
