"""Both networks: the same interface, exact distributions, no look-ahead, caches that change nothing."""

from __future__ import annotations

import pytest
import torch

from bitlm_core import ConfigError, ModelConfig, preset_config
from bitlm_core.models.build import build_model
from bitlm_core.models.config import count_parameters
from bitlm_core.models.output import byte_log_probs, conditioned_log_probs, path_bits, path_logits, path_nats, path_nodes
from tests.core.models.networks import T, a_model, reads_as_the_full_pass, some_bytes


@pytest.mark.parametrize("position", ["rotary", "sinusoidal"])
@torch.no_grad()
def test_cached_reading_equals_the_full_pass(architecture: str, position: str) -> None:
    model, data = a_model(architecture, position=position), some_bytes()
    reads_as_the_full_pass(model, data, (0, 1, 7, T - 1))


@torch.no_grad()
def test_later_bytes_and_bits_leave_earlier_logits_bit_identical(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes()
    before = model.path_logits(data)
    generator = torch.Generator().manual_seed(6)
    for _ in range(10):
        place = int(torch.randint(0, T, (1,), generator=generator))
        bit = int(torch.randint(0, 8, (1,), generator=generator))
        changed = data.clone()
        changed[:, place] ^= 1 << (7 - bit)
        changed[:, place + 1 :] = torch.randint(0, 256, changed[:, place + 1 :].shape, generator=generator)
        after = model.path_logits(changed)
        assert torch.equal(before[:, :place], after[:, :place])
        assert torch.equal(before[:, place, : bit + 1], after[:, place, : bit + 1])
        if bit < 7:
            assert not torch.equal(before[:, place, bit + 1 :], after[:, place, bit + 1 :])


@torch.no_grad()
def test_the_256_bytes_share_probability_one(architecture: str) -> None:
    nodes = a_model(architecture).predicted_nodes(some_bytes(1))
    torch.testing.assert_close(byte_log_probs(nodes).exp().sum(-1), torch.ones(1, T), rtol=0, atol=1e-5)


@torch.no_grad()
def test_path_logits_are_the_nodes_on_the_way(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes()
    whole = path_logits(model.predicted_nodes(data), data)
    torch.testing.assert_close(whole, model.path_logits(data), rtol=0, atol=1e-5)
    tail = model.predicted_nodes(data, start_bytes=T - 3)
    torch.testing.assert_close(path_logits(tail, data[:, -3:]), whole[:, -3:], rtol=0, atol=1e-5)
    torch.testing.assert_close(model.path_logits(data, start_bytes=5), whole[:, 5:], rtol=0, atol=1e-5)


@torch.no_grad()
def test_masked_prediction_sees_both_sides_and_never_what_is_hidden(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes(1)
    hidden = torch.zeros(1, T, dtype=torch.bool)
    hidden[0, 8:11] = True
    seen = model.predict_masked(data, 255 * ~hidden).nodes[:, 8]
    secret = data.clone()
    secret[0, 9] ^= 0xFF
    assert torch.equal(model.predict_masked(secret, 255 * ~hidden).nodes[:, 8], seen)
    for side in (2, 15):
        other = data.clone()
        other[0, side] ^= 0xFF
        assert not torch.equal(model.predict_masked(other, 255 * ~hidden).nodes[:, 8], seen)


def test_parity_is_read_out_by_the_bit_model_alone() -> None:
    data, hidden = some_bytes(1), torch.ones(1, T, dtype=torch.bool)
    assert a_model("byte").predict_masked(data, 255 * ~hidden).parity is None
    parity = a_model("bit").predict_masked(data, 255 * ~hidden).parity
    assert parity is not None and parity.shape == (1, T)


@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_parameters_are_counted_without_making_them(architecture: str, preset: str) -> None:
    config = preset_config(preset, architecture)  # type: ignore[arg-type]
    with torch.device("meta"):
        made = sum(parameter.numel() for parameter in build_model(config).parameters())
    assert count_parameters(config) == made


def test_the_weights_are_a_function_of_the_seed_and_leave_the_global_one_alone(architecture: str) -> None:
    config = preset_config("tiny", architecture)  # type: ignore[arg-type]
    torch.manual_seed(1)
    expected = torch.rand(1)
    torch.manual_seed(1)
    first, second, other = build_model(config, 1), build_model(config, 1), build_model(config, 2)
    assert torch.equal(torch.rand(1), expected)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])
    assert any(not torch.equal(a, b) for a, b in zip(first.parameters(), other.parameters(), strict=True))


def test_the_path_of_a_byte_by_hand() -> None:
    byte = torch.tensor(0b1010_0001)
    assert path_bits(byte).tolist() == [1, 0, 1, 0, 0, 0, 0, 1]
    assert path_nodes(byte).tolist() == [1, 0b11, 0b110, 0b1101, 0b11010, 0b110100, 0b1101000, 0b11010000]
    assert path_nats(torch.zeros(8), byte).item() == pytest.approx(8 * 0.6931472)


def test_bytes_that_contradict_what_is_known_have_no_probability() -> None:
    nodes = torch.randn(3, 256, generator=torch.Generator().manual_seed(1))
    data, known = torch.tensor([0b1010_0001, 65, 200]), torch.tensor([0b1110_0000, 0, 255])
    found, free = conditioned_log_probs(nodes, data, known).exp(), byte_log_probs(nodes).exp()
    allowed = free[0] * torch.tensor([byte >> 5 == 0b101 for byte in range(256)])
    torch.testing.assert_close(found[0], allowed / allowed.sum())
    torch.testing.assert_close(found[1], free[1])
    assert found[2, 200] == 1 and found[2].sum() == 1
    assert torch.equal(conditioned_log_probs(nodes, data ^ ~known & 255, known), found.log())


def test_sizes_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(ConfigError, match="multiple of 14"):
        preset_config("tiny", d_model=100, nhead=7)
    with pytest.raises(ConfigError, match="max_seq_len=2"):
        preset_config("tiny", max_seq_len=2)
    assert preset_config("tiny", d_model=256) == ModelConfig(
        d_model=256,
        nhead=4,
        num_layers=2,
        dim_feedforward=1024,
        max_seq_len=256,
        attention="chunked",
        chunk_size=64,
        ngram_rows=4096,
    )
