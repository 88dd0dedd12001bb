"""Byte-latent networks: nothing of a byte is seen before it is predicted, by any of the ways there are, under every rule."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from bitlm_core import ConfigError, ModelStateError, preset_config
from bitlm_core.layers.embedding import START, NgramEmbedding
from bitlm_core.layers.halting import Trace
from bitlm_core.layers.patches import Cut, PatchPooling
from bitlm_core.layers.stack import BlockStack
from bitlm_core.models.build import build_model
from bitlm_core.models.config import count_parameters
from bitlm_core.models.output import byte_log_probs, path_logits
from bitlm_core.models.patch_lm import AT_ONCE, PatchLM
from tests.core.models.networks import reads_as_the_full_pass

T = 40
FORMS: dict[str, dict[str, Any]] = {
    "entropy": {},
    "monotonic": {"monotonic": True, "mean_patch_size": 3},
    "adaptive": {"adaptive": True, "mean_patch_size": 3},
    "lines": {"reset_context": True, "min_patch_size": 2, "max_patch_size": 6},
    "space": {"patching": "space"},
    "fixed": {"patching": "fixed", "stride": 3},
    "bytes": {"patching": "fixed", "stride": 1, "attention": "chunked", "chunk_size": 8},
    "memory": {"memory_span": 2},
    "differential": {"attention": "differential", "encoder_layers": 2, "decoder_layers": 2},
    "halting": {"use_act": True, "act_threshold": 0.5},
    "sinusoidal": {"position": "sinusoidal", "slots": 1},
    "reversible": {"reversible": True, "ngram_rows": 0, "dropout": 0.1},
}


def words(rows: int = 2, length: int = T) -> Tensor:
    """Bytes of which some are hard to predict: words of a few letters, spaces, and lines."""
    generator = torch.Generator().manual_seed(rows + length)
    letters = torch.tensor(list(b"aaaabbbccd  \n"))
    return letters[torch.randint(0, len(letters), (rows, length), generator=generator)]


def a_patch_model(**form: Any) -> PatchLM:
    """One whose zero-initialised parts were filled, so that nothing is hidden by zeros, and whose entropies are known."""
    sizes = {"d_model": 32, "nhead": 2, "local_width": 16, "local_heads": 1, "local_chunk": 16, "max_seq_len": T}
    model = build_model(preset_config("tiny", "patch", **{**sizes, "ngram_rows": 64, **form}), seed=3).eval()
    assert isinstance(model, PatchLM)
    model.prepare(words(1, 4000)[0].to(torch.uint8).numpy())
    generator = torch.Generator().manual_seed(4)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def leaks(model: PatchLM) -> bool:
    """Whether a bit that is changed, and other bytes after it, move any prediction up to that bit's own."""
    data, generator = words(), torch.Generator().manual_seed(6)
    before = model.path_logits(data)
    for place in range(0, T, 3):
        bit = int(torch.randint(0, 8, (1,), generator=generator))
        changed = data.clone()
        changed[:, place] ^= 1 << (7 - bit)
        changed[:, place + 1 :] = words(2, T + place)[:, place + 1 : T]
        after = model.path_logits(changed)
        if not torch.equal(before[:, :place], after[:, :place]):
            return True
        if not torch.equal(before[:, place, : bit + 1], after[:, place, : bit + 1]):
            return True
    return False


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_later_bytes_and_bits_leave_earlier_logits_bit_identical(form: str) -> None:
    assert not leaks(a_patch_model(**FORMS[form]))


@torch.no_grad()
def test_more_patches_than_are_computed_at_once_change_nothing_before_them(monkeypatch: pytest.MonkeyPatch) -> None:
    model, data = a_patch_model(memory_span=3), words()
    whole = model.path_logits(data)
    monkeypatch.setattr("bitlm_core.models.patch_lm.AT_ONCE", 4)
    torch.testing.assert_close(model.path_logits(data), whole, rtol=0, atol=1e-5)
    assert not leaks(model) and AT_ONCE > T


@torch.no_grad()
def test_halting_is_told_of_all_patches_there_are(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is computed at once; a row with few patches is filled up, and what fills it up is not counted."""
    model = a_patch_model(use_act=True, act_threshold=0.17, patching="space")
    rows = torch.stack([torch.full((T,), ord("a")), words(1)[0]])
    told = []
    for at_once in (AT_ONCE, 4, 1):
        monkeypatch.setattr("bitlm_core.models.patch_lm.AT_ONCE", at_once)
        told.append(Trace())
        model.path_logits(rows, trace=told[-1])
    num_patches = int(told[0].starts.sum()) + 2  # START of each row
    for trace in told:
        assert trace.positions == num_patches and 1 < trace.mean_layers < 2
        assert trace.mean_layers == told[0].mean_layers
        assert trace.halt_probs == pytest.approx(told[0].halt_probs, abs=1e-5)
        assert float(trace.ponder) == pytest.approx(float(told[0].ponder), abs=1e-5)


@torch.no_grad()
def test_a_pass_tells_where_patches_start() -> None:
    """Among bytes: neither START nor what a document begins with in its place is a patch."""
    trace, data = Trace(), torch.tensor([list(b"ab cd ef gh")])
    a_patch_model(patching="space").path_logits(data, trace=trace)
    assert trace.starts.int().tolist() == [[1, 0, 0, 1, 0, 0, 1, 0, 0, 1]]
    documents = torch.tensor([[0] * 5 + [1] * 6])
    a_patch_model(patching="space").path_logits(data, documents=documents, trace=trace)
    assert trace.starts.int().tolist() == [[1, 0, 0, 1, 0, 1, 0, 0, 0, 1]]


# The four leaks of the system that this one comes after: each is impossible, and each, planted, is seen.


@torch.no_grad()
def test_the_encoder_reads_to_the_right_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = a_patch_model(), words()
    hidden = model._encode(inputs)
    changed = inputs.clone()
    changed[:, 20:] += 1
    assert torch.equal(model._encode(changed)[:, :20], hidden[:, :20])
    both_ways = BlockStack.forward

    def forward(stack: BlockStack, x: Tensor, **how: Any) -> Tensor:
        return both_ways(stack, x, **{**how, "causal": how["causal"] and stack is not model.encoder})

    monkeypatch.setattr(BlockStack, "forward", forward)
    assert leaks(model)


@torch.no_grad()
def test_n_grams_end_at_their_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = a_patch_model(), words()
    assert model.ngram_embedding is not None
    embedded = model.ngram_embedding(inputs)
    for place in (0, 7, 20):
        changed = inputs.clone()
        changed[:, place] += 1
        after = model.ngram_embedding(changed)
        assert torch.equal(after[:, :place], embedded[:, :place])
        assert torch.equal(after[:, place + 8 :], embedded[:, place + 8 :])
        assert not torch.equal(after[:, place + 2], embedded[:, place + 2])
    read_ahead = NgramEmbedding.forward
    monkeypatch.setattr(NgramEmbedding, "forward", lambda table, x, before=None: read_ahead(table, x.roll(-1, 1), before))
    assert leaks(model)


@torch.no_grad()
def test_patches_are_made_of_their_own_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    model, inputs = a_patch_model(), words()
    inputs[:, 0] = START
    local, cut = model._encode(inputs), model.cut(inputs)
    before = model._latent(local, cut, None, None)
    for place in (5, 22):
        changed = local.clone()
        changed[0, place] += 1
        own = int(cut.own[0, place])
        after = model._latent(changed, cut, None, None)
        assert torch.equal(after[0, :own], before[0, :own]) and not torch.equal(after[0, own], before[0, own])
        assert torch.equal(after[1], before[1])
    mean_of_all = PatchPooling.forward
    monkeypatch.setattr(PatchPooling, "forward", lambda pool, last, k, v, mask: mean_of_all(pool, last, k, v, mask | True))
    assert leaks(model)


@torch.no_grad()
def test_bytes_see_complete_patches_only(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_patch_model()
    for inputs in (words(), torch.cat([torch.full((2, 1), START), words()[:, 1:]], dim=1)):
        cut = model.cut(inputs)
        position = torch.arange(T)
        seen = cut.complete >= 0
        assert torch.all(cut.last.gather(1, cut.complete.clamp(min=0))[seen] <= position.expand(2, T)[seen])
    honest = PatchLM.cut

    def own_patch(model: PatchLM, inputs: Tensor) -> Cut:
        cut = honest(model, inputs)
        return cut._replace(complete=cut.own)

    monkeypatch.setattr(PatchLM, "cut", own_patch)
    assert leaks(model)


@pytest.mark.parametrize("form", FORMS)
@torch.no_grad()
def test_cached_reading_equals_the_full_pass(form: str) -> None:
    model, data = a_patch_model(**FORMS[form]), words()
    reads_as_the_full_pass(model, data, (0, 5, T - 1))


@pytest.mark.parametrize("form", ["entropy", "adaptive", "differential"])
@torch.no_grad()
def test_documents_in_one_window_are_as_if_alone(form: str) -> None:
    # Chunks of bytes are counted from the start of the window, so here there is only one.
    model, data = a_patch_model(**FORMS[form], local_chunk=64), words(1)
    documents = torch.tensor([[0] * 11 + [1] * 12 + [2] * (T - 23)])
    packed = model.path_logits(data, documents=documents)
    for begin, end in ((0, 11), (11, 23), (23, T)):
        torch.testing.assert_close(packed[:, begin:end], model.path_logits(data[:, begin:end]), rtol=0, atol=1e-5)


@torch.no_grad()
def test_memory_ends_with_its_document() -> None:
    model, data = a_patch_model(memory_span=2, local_chunk=64, patching="fixed", stride=2), words(1)
    documents = torch.tensor([[0] * 20 + [1] * (T - 20)])
    changed = data.clone()
    changed[0, :20] = words(1, 60)[0, 40:]
    assert not torch.equal(model.path_logits(changed)[:, 30:], model.path_logits(data)[:, 30:])
    before, after = (model.path_logits(each, documents=documents)[:, 20:] for each in (data, changed))
    torch.testing.assert_close(before, after, rtol=0, atol=1e-5)


@torch.no_grad()
def test_the_256_bytes_share_probability_one() -> None:
    model, data = a_patch_model(), words()
    nodes = model.predicted_nodes(data)
    torch.testing.assert_close(byte_log_probs(nodes).exp().sum(-1), torch.ones(2, T), rtol=0, atol=1e-5)
    torch.testing.assert_close(path_logits(nodes, data), model.path_logits(data), rtol=0, atol=1e-5)
    torch.testing.assert_close(model.path_logits(data, start_bytes=7), model.path_logits(data)[:, 7:], rtol=0, atol=0)


@pytest.mark.parametrize("form", FORMS)
def test_training_computes_what_answers_do_and_moves_every_part(form: str) -> None:
    model, data = a_patch_model(**{**FORMS[form], "dropout": 0.0}), words()
    with torch.no_grad():
        expected = model.path_logits(data)
    model.train()
    logits = model.path_logits(data)
    torch.testing.assert_close(logits, expected, rtol=0, atol=1e-5)
    logits.square().sum().backward()
    still = [name for name, parameter in model.named_parameters() if parameter.grad is None]
    assert not [name for name in still if "halting" not in name and "blocks.1" not in name]


@pytest.mark.parametrize("form", FORMS)
def test_parameters_are_counted_without_making_them(form: str) -> None:
    model = a_patch_model(**FORMS[form])
    assert count_parameters(model.config) == sum(parameter.numel() for parameter in model.parameters())


def test_rows_of_other_lengths_in_patches_do_not_meet() -> None:
    """A row with few patches beside one with many is filled up, and neither sees it."""
    model = a_patch_model(patching="space")
    rows = torch.stack([torch.full((T,), ord("a")), words(1)[0]])
    rows[1, 1::2] = ord(" ")
    together = model.path_logits(rows)
    for row in range(2):
        torch.testing.assert_close(together[row : row + 1], model.path_logits(rows[row : row + 1]), rtol=0, atol=1e-5)


def test_what_patches_cannot_do_is_refused() -> None:
    model = a_patch_model()
    with pytest.raises(ModelStateError, match="diffusion='own'"):
        model.predict_masked(words(), torch.zeros(2, T, dtype=torch.int64))
    with pytest.raises(ConfigError, match="without carrying"):
        model.carrying(8, 8)
    own = a_patch_model(diffusion="own", ngram_rows=64)
    assert own.predict_masked(words(), torch.zeros(2, T, dtype=torch.int64)).nodes.shape == (2, T, 256)


def test_sizes_that_do_not_fit_together_are_named() -> None:
    for architecture, fields, message in (
        ("byte", {"encoder_layers": 2, "patching": "space"}, r"encoder_layers=2.*architecture='byte' has no patches"),
        ("patch", {"global_layers": 2, "num_layers": 3}, "are one thing"),
        ("patch", {"local_width": 50, "local_heads": 4}, "multiple of 8"),
        ("patch", {"ngram_orders": (4, 3)}, "must rise"),
        ("patch", {"patching": "fixed"}, "give stride"),
        ("patch", {"diffusion": "shared"}, "use 'own'"),
        ("patch", {"stride": 3}, "means nothing with scheme='entropy'"),
    ):
        with pytest.raises(ConfigError, match=message):
            preset_config("tiny", architecture, **fields)  # type: ignore[arg-type]
    config = preset_config("tiny", "patch", hidden_size=64, global_layers=3, ngram_vocab_size=128, patching="space")
    assert (config.d_model, config.nhead, config.num_layers, config.ngram_rows) == (64, 1, 3, 128)
    assert config.patch is not None and config.patch.patching.scheme == "space"
