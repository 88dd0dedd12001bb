"""The byte-latent network under the names of its paper: what they mean, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bitlm_core import BLTConfig, ConfigError, ModelConfig, PatchingConfig, preset_config
from bitlm_core.models.build import build_model


def test_its_defaults_are_the_small_preset() -> None:
    assert BLTConfig().to_model() == preset_config("small", "patch")


def test_every_name_reaches_the_network() -> None:
    named = BLTConfig(
        hidden_size=64,
        intermediate_size=96,
        num_heads=4,
        local_width=48,
        encoder_layers=2,
        global_layers=3,
        decoder_layers=4,
        attention_dropout=0.1,
        resid_dropout=0.1,
        ngram_vocab_size=128,
        window_size=16,
        max_position_embeddings=80,
        entropy_threshold=1.5,
        min_patch_size=2,
        max_patch_size=9,
    )
    model = named.to_model()
    assert set(BLTConfig.model_fields) == named.model_fields_set
    assert (model.d_model, model.dim_feedforward, model.nhead, model.num_layers) == (64, 96, 4, 3)
    assert (model.dropout, model.ngram_rows, model.max_seq_len) == (0.1, 128, 80)
    assert model.patch is not None
    sizes = model.patch
    assert (sizes.local_width, sizes.local_chunk, sizes.encoder_layers, sizes.decoder_layers) == (48, 16, 2, 4)
    cut = sizes.patching
    assert (cut.entropy_threshold, cut.min_patch_size, cut.max_patch_size) == (1.5, 2, 9)
    assert len(build_model(model).stacks[2].blocks) == 4
    assert ModelConfig.model_validate(model.model_dump(mode="json")) == model


@pytest.mark.parametrize("hidden", [32, 40, 100, 192, 512, 768])
def test_widths_over_bytes_follow(hidden: int) -> None:
    sizes = BLTConfig(hidden_size=hidden, num_heads=2).to_model().patch
    assert sizes is not None and hidden / 2 - 4 < sizes.local_width <= hidden / 2


def test_patching_has_the_names_of_the_paper_too() -> None:
    patching = PatchingConfig(scheme="entropy", entropy_threshold=0.5, use_monotonic=True, reset_context=True)
    model = BLTConfig(hidden_size=64).to_model(patching)
    assert model.patch is not None and model.patch.patching == patching and patching.monotonic
    fixed = BLTConfig(hidden_size=64).to_model(PatchingConfig(scheme="fixed", stride=8))
    assert fixed.patch is not None and fixed.patch.patching.stride == 8


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"attention_dropout": 0.1, "resid_dropout": 0.2}, "give one of them, or the same number twice"),
        (
            {"entropy_model_layers": 3, "entropy_context_size": 1024},
            "entropy_model_layers, entropy_context_size: entropies",
        ),
        ({"hidden_size": 8}, "greater than or equal to 32"),
        ({"vocab_size": 256}, "vocab_size"),
    ],
)
def test_what_it_cannot_mean_is_refused(given: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError, match=told):
        BLTConfig(**given)


def test_what_does_not_fit_together_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot be split into nhead=5 heads"):
        BLTConfig(hidden_size=64, num_heads=5).to_model()
    with pytest.raises(ConfigError, match=r"max_patch_size=8 and patching both say"):
        BLTConfig(max_patch_size=8).to_model(PatchingConfig(scheme="space"))
    with pytest.raises(ConfigError, match=r"mean_patch_size=4 is not within min_patch_size=64"):
        BLTConfig(min_patch_size=64, max_patch_size=1024).to_model()
    with pytest.raises(ConfigError, match=r"local_width=49 cannot be split"):
        BLTConfig(local_width=49).to_model()
