"""Every form of the trunk, in both networks: no look-ahead, caches that change nothing, cuts that change nothing."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, preset_config
from bitlm_core.layers.block import Layer
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.expert import carried_path_logits
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.build import build_model
from bitlm_core.models.config import count_parameters
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_logits
from tests.core.models.networks import T, a_model, reads_as_the_full_pass, some_bytes

FORMS: dict[str, dict[str, Any]] = {
    "full": {},
    "chunked": {"chunk_size": 10, "overlap": 4},
    "chunked without overlap": {"chunk_size": 7, "overlap": 0},
    "differential": {"attention": "differential"},
    "differential in chunks": {"attention": "differential", "chunk_size": 16},
    "halting": {"use_act": True, "act_threshold": 0.5},
    "sinusoidal": {"position": "sinusoidal"},
    "reversible": {"reversible": True, "dropout": 0.1},
    "without n-grams": {"ngram_rows": 0},
}


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_cached_reading_equals_the_full_pass(architecture: str, form: str) -> None:
    model, data = a_model(architecture, **FORMS[form]), some_bytes(1)
    reads_as_the_full_pass(model, data, (0, 5, T - 1))


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_later_bytes_leave_earlier_logits_bit_identical(architecture: str, form: str) -> None:
    model, data = a_model(architecture, **FORMS[form]), some_bytes()
    before = model.path_logits(data)
    for place in (0, 9, 10, T - 1):
        changed = data.clone()
        changed[:, place:] = (changed[:, place:] + 101) % 256
        after = model.path_logits(changed)
        assert torch.equal(before[:, :place], after[:, :place])
        assert not torch.equal(before[:, place, 1:], after[:, place, 1:])


@pytest.mark.parametrize("form", [name for name in FORMS if name != "sinusoidal"])
@torch.no_grad()
def test_a_carried_stream_is_the_same_however_it_is_cut(architecture: str, form: str) -> None:
    model, data = a_model(architecture, **FORMS[form]), some_bytes(1, 70)[0].numpy().astype(np.uint8)
    near = model.carrying(12, 6)
    whole, cut = (np.concatenate([part for _, part in carried_path_logits(model, data, size, near)]) for size in (70, 9))
    np.testing.assert_allclose(whole, cut, rtol=0, atol=1e-5)
    predictor = Predictor(model, None, adaptive=False, locality=near)
    for index, byte in enumerate(data):
        step = path_logits(torch.from_numpy(predictor.node_logits()), torch.tensor(int(byte)))
        np.testing.assert_allclose(step, whole[index], rtol=0, atol=1e-5)
        predictor.advance(int(byte))
    at_once = Predictor(model, None, adaptive=False, locality=near)
    at_once.read(data.tobytes())
    np.testing.assert_allclose(at_once.node_logits(), predictor.node_logits(), rtol=0, atol=1e-5)


@torch.no_grad()
def test_what_is_carried_is_seen_and_nothing_later(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes(1, 60)[0].numpy().astype(np.uint8)
    near = model.carrying(20, 20)

    def logits(given: np.ndarray) -> np.ndarray:
        return np.concatenate([part for _, part in carried_path_logits(model, given, 20, near)])

    before, changed = logits(data), data.copy()
    changed[30] ^= 0xFF
    after = logits(changed)
    assert np.array_equal(before[:30], after[:30])
    assert not np.array_equal(before[45], after[45])  # in the next segment
    assert near == Locality(20 * model.positions_per_byte, 20 * model.positions_per_byte)


def test_positions_that_end_cannot_be_carried() -> None:
    with pytest.raises(ConfigError, match="position='rotary'"):
        a_model("byte", position="sinusoidal").carrying(8, 8)
    with pytest.raises(ConfigError, match="overlap of 9 bytes"):
        a_model("byte").carrying(8, 9)


@pytest.mark.parametrize("form", ["full", "chunked", "differential"])
@torch.no_grad()
def test_documents_in_one_window_are_as_if_alone(architecture: str, form: str) -> None:
    model, data = a_model(architecture, **FORMS[form]), some_bytes(1)
    documents = torch.tensor([[0] * 8 + [1] * 11 + [2] * (T - 19)])
    packed = model.path_logits(data, documents=documents)
    if form != "chunked":  # chunks are counted from the start of the window, so there only the first is where it was
        for begin, end in ((8, 19), (19, T)):
            torch.testing.assert_close(packed[:, begin:end], model.path_logits(data[:, begin:end]), rtol=0, atol=1e-5)
    torch.testing.assert_close(packed[:, :8], model.path_logits(data[:, :8]), rtol=0, atol=1e-5)
    changed = data.clone()
    changed[0, :8] = (changed[0, :8] + 7) % 256
    assert torch.equal(model.path_logits(changed, documents=documents)[:, 8:], packed[:, 8:])


@pytest.mark.parametrize("diffusion", [None, "shared", "own"])
@torch.no_grad()
def test_masked_prediction_keeps_documents_apart(architecture: str, diffusion: str | None) -> None:
    if architecture == "bit" and diffusion == "shared":
        with pytest.raises(ConfigError, match="use 'own'"):
            a_model(architecture, diffusion=diffusion)
        return
    model, data = a_model(architecture, diffusion=diffusion), some_bytes(1)
    documents, hidden = torch.tensor([[0] * 12 + [1] * 12]), torch.zeros(1, T, dtype=torch.bool)
    hidden[0, 10] = True
    found = model.predict_masked(data, 255 * ~hidden, documents=documents).nodes[0, 10]
    for place, is_seen in ((2, True), (9, True), (12, False), (15, False)):
        other = data.clone()
        other[0, place] ^= 0xFF
        same = torch.equal(model.predict_masked(other, 255 * ~hidden, documents=documents).nodes[0, 10], found)
        assert same != is_seen


@pytest.mark.parametrize("form", [*FORMS, "a network of its own"])
@torch.no_grad()
def test_masked_prediction_never_sees_a_bit_that_is_hidden(architecture: str, form: str) -> None:
    never_sees_what_is_hidden(a_model(architecture, **FORMS.get(form, {"diffusion": "own"})))


@pytest.mark.parametrize("form", ["full", "chunked", "differential in chunks", "halting", "reversible", "without n-grams"])
@torch.no_grad()
def test_neighbours_on_both_sides_never_show_a_bit_that_is_hidden(form: str) -> None:
    never_sees_what_is_hidden(a_model("byte", **FORMS[form], diffusion="shared"))


def never_sees_what_is_hidden(model: LanguageModel) -> None:
    """Whatever the hidden bits are, predictions are bit-identical; those that are known are seen, by their own row alone."""
    data, generator = some_bytes(), torch.Generator().manual_seed(8)
    known = torch.randint(0, 256, data.shape, generator=generator)
    known[:, ::3], known[:, 1::5] = 255, 0
    found = model.predict_masked(data, known)
    for _ in range(4):
        hidden_bits = torch.randint(0, 256, data.shape, generator=generator) & ~known
        again = model.predict_masked(data ^ hidden_bits, known)
        assert torch.equal(again.nodes, found.nodes)
        assert found.parity is None or (again.parity is not None and torch.equal(again.parity, found.parity))
    partly = int((known[0] % 255).argmax())
    for place in (0, partly):
        other = data.clone()
        other[0, place] ^= int(known[0, place]) & -int(known[0, place])
        assert not torch.equal(model.predict_masked(other, known).nodes[0], found.nodes[0])
        assert torch.equal(model.predict_masked(other, known).nodes[1], found.nodes[1])


@pytest.mark.parametrize("diffusion", ["shared", "own"])
@torch.no_grad()
def test_what_is_there_for_diffusion_leaves_causal_reading_alone(diffusion: str) -> None:
    data, config = some_bytes(), preset_config("tiny", max_seq_len=T)
    plain, other = build_model(config, 1).eval(), build_model(config.model_copy(update={"diffusion": diffusion}), 1).eval()
    kept = {name: value for name, value in other.state_dict().items() if name in plain.state_dict()}
    assert kept.keys() == plain.state_dict().keys() and len(other.state_dict()) > len(kept)
    assert count_parameters(other.config) == sum(parameter.numel() for parameter in other.parameters())
    other.load_state_dict(other.state_dict() | plain.state_dict())
    plain.head.weight.normal_(generator=torch.Generator().manual_seed(1))
    other.head.weight.copy_(plain.head.weight)
    assert torch.equal(other.path_logits(data), plain.path_logits(data))
    other.expand_positional_encoding(4 * T)
    other.predict_masked(some_bytes(1, 4 * T), torch.zeros(1, 4 * T, dtype=torch.int64))


@pytest.mark.parametrize("form", FORMS)
def test_parameters_are_counted_without_making_them(architecture: str, form: str) -> None:
    config = preset_config("tiny", architecture, **FORMS[form])  # type: ignore[arg-type]
    with torch.device("meta"):
        made = sum(parameter.numel() for parameter in build_model(config).parameters())
    assert count_parameters(config) == made


def test_more_positions_leave_predictions_as_they_were(architecture: str) -> None:
    model, data = a_model(architecture), some_bytes(1)
    before = model.path_logits(data)
    model.expand_positional_encoding(4 * model.config.max_seq_len)
    assert torch.equal(model.path_logits(data), before)
    assert model.config.max_bytes == 4 * T
    model.path_logits(some_bytes(1, 4 * T))
    with pytest.raises(ConfigError, match="only be added"):
        model.expand_positional_encoding(T)


@pytest.mark.parametrize("form", FORMS)
def test_all_of_it_runs_where_the_weights_are(architecture: str, form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """On PyTorch's device without data, where every tensor that stayed on the CPU by mistake is an error."""
    model = a_model(architecture, **FORMS[form]).to("meta")
    if model.config.act_threshold is None:
        model.train()
    else:  # halting decides by values, and this device has none: here nobody halts, and nothing is gathered
        monkeypatch.setattr(Layer, "all_halted", lambda layer, streams: False)
    documents = torch.zeros(2, T, dtype=torch.int64, device="meta")
    model.path_logits(some_bytes(), documents=documents).sum().backward()
    model.predict_masked(some_bytes(), torch.zeros(2, T, dtype=torch.int64)).nodes.sum().backward()
    assert all(parameter.grad is None or parameter.grad.device.type == "meta" for parameter in model.parameters())


def test_configs_that_fit_together_and_those_that_do_not() -> None:
    assert preset_config("tiny", chunk_size=64).attention == "chunked"
    assert preset_config("tiny").chunks == preset_config("tiny", attention="chunked").chunks == (64, 64)
    assert preset_config("tiny", "bit", attention="chunked").chunks == (128, 128)
    assert preset_config("tiny", "bit").chunks is None is preset_config("tiny", attention="full").chunks
    assert preset_config("tiny", chunk_size=64, overlap=16).chunks == (64, 16)
    assert preset_config("tiny", use_act=True, act_threshold=0.8).act_threshold == 0.8
    assert preset_config("tiny", act_threshold=0.8).act_threshold == 0.8
    assert preset_config("tiny", use_act=True).act_threshold == 0.99
    assert preset_config("tiny").act_threshold is None
    assert preset_config("tiny").ngram_rows and not preset_config("tiny", "bit").ngram_rows
    for fields, message in (
        ({"attention": "full", "chunk_size": 64}, "means attention='chunked'"),
        ({"chunk_size": 64, "overlap": 65}, "overlap=65 is more than chunk_size=64"),
        ({"architecture": "bit", "attention": "differential", "overlap": 3}, "overlap=3 is more"),
        ({"reversible": True, "use_checkpoint": True}, "choose one"),
        ({"use_act": False, "act_threshold": 0.5}, "no meaning with use_act=false"),
        ({"architecture": "bit", "ngram_rows": 64}, "ngram_rows=64 counts n-grams of bytes"),
        ({"attention": "differential", "d_model": 36, "nhead": 6}, "multiple of 24"),
    ):
        with pytest.raises(ConfigError, match=message):
            preset_config("tiny", **fields)
