"""Boundaries: never moved by what comes later, and the same from row to row and from piece to piece."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patchings import RULES, SYMBOLS, fitted, row

from bitlm_core.errors import ConfigError
from bitlm_core.layers.embedding import START
from bitlm_core.patching.boundaries import PatchStatistics, open_states, patch_starts, patch_statistics
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def models(text: bytes) -> dict[str, EntropyModel]:
    return {rule: fitted(rule, text) for rule in RULES}


def cut(model: EntropyModel, symbols: torch.Tensor) -> torch.Tensor:
    return patch_starts(symbols, model.entropies(symbols), model.config, model.threshold)


@EXAMPLES
@given(data=st.data(), rule=st.sampled_from(list(RULES)), symbols=SYMBOLS, more=SYMBOLS)
def test_appended_symbols_move_no_boundary(
    models: dict[str, EntropyModel], data: st.DataObject, rule: str, symbols: list[int], more: list[int]
) -> None:
    before = cut(models[rule], row(symbols))[0]
    after = cut(models[rule], row(symbols + more))[0]
    assert torch.equal(before, after[: len(symbols)])
    # More than that: whether a byte starts a patch does not depend on which byte it is.
    other = [*symbols[:-1], data.draw(st.integers(0, 255))]
    if symbols[-1] != START:
        assert torch.equal(before, cut(models[rule], row(other))[0])


@pytest.mark.parametrize("rule", RULES)
def test_documents_of_a_row_are_cut_as_if_alone(models: dict[str, EntropyModel], text: bytes, rule: str) -> None:
    first, second = [START, *text[30_000:30_400]], [START, *text[40_000:40_300]]
    found = cut(models[rule], row(first + second))[0]
    assert torch.equal(found, torch.cat([cut(models[rule], row(each))[0] for each in (first, second)]))
    assert found[[0, 1, len(first), len(first) + 1]].all()


@pytest.mark.parametrize("rule", RULES)
def test_a_row_goes_on_where_its_state_stands(models: dict[str, EntropyModel], text: bytes, rule: str) -> None:
    model, symbols = models[rule], torch.tensor([[START, *text[30_000:30_199]], list(text[50_000:50_200])])
    whole, states = cut(model, symbols), open_states(2)
    for begin, end in ((0, 1), (1, 70), (70, 200)):
        before = symbols[:, max(0, begin - 2) : begin] if begin > 1 else None
        if begin == 1:
            before = torch.nn.functional.pad(symbols[:, :1], (1, 0), value=START)
        entropies = model.entropies(symbols[:, begin:end], before)
        part = patch_starts(symbols[:, begin:end], entropies, model.config, model.threshold, states_BS=states)
        assert torch.equal(part, whole[:, begin:end])


def test_words_end_with_what_follows_them() -> None:
    text = "To be,  or — né — not 42".encode()
    starts = patch_starts(row(list(text)), None, PatchingConfig(scheme="space"), 0.0)[0]
    places = [*starts.nonzero()[:, 0].tolist(), len(text)]
    patches = [text[begin:end].decode() for begin, end in pairwise(places)]
    assert patches == ["To ", "be,", "  or ", "— ", "né ", "— ", "not ", "42"]


def test_an_adaptive_threshold_keeps_the_mean_on_data_of_another_kind(models: dict[str, EntropyModel]) -> None:
    noise = torch.randint(0, 256, (4, 3000), generator=torch.Generator().manual_seed(3))
    still, moving = (patch_statistics(cut(models[rule], noise)).mean for rule in ("entropy", "adaptive"))
    assert still < 1.5
    assert moving == pytest.approx(2, rel=0.05)


def test_statistics_of_what_is_marked() -> None:
    starts = torch.tensor([[1, 0, 0, 1, 0], [0, 0, 1, 1, 0]], dtype=torch.bool)  # 3 2, 2 1 2: a row begins with a patch
    found = patch_statistics(starts)
    assert found == PatchStatistics(5, 2.0, pytest.approx(0.4**0.5), 1, 3, (1, 3, 1))
    assert not starts[1, 0]  # what was given is left alone


def test_what_cannot_be_cut_is_refused() -> None:
    with pytest.raises(ConfigError, match="needs one of each symbol"):
        patch_starts(row([1, 2]), None, PatchingConfig(), 0.0)
    with pytest.raises(ConfigError, match="give two dimensions"):
        patch_starts(torch.tensor([1, 2]), None, PatchingConfig(scheme="space"), 0.0)
    with pytest.raises(ConfigError, match="at least one symbol"):
        patch_statistics(torch.zeros(1, 0, dtype=torch.bool))
