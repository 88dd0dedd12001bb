"""Reading symbol by symbol: the full pass, one at a time."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from patchings import RULES, SYMBOLS, fitted, row

from bitlm_core.errors import ConfigError
from bitlm_core.layers.embedding import START
from bitlm_core.patching.boundaries import patch_starts
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel
from bitlm_core.patching.patcher import Patcher

EXAMPLES = settings(derandomize=True, deadline=None, max_examples=60)


@pytest.fixture(scope="module")
def models(text: bytes) -> dict[str, EntropyModel]:
    return {rule: fitted(rule, text) for rule in RULES}


def starts_of(model: EntropyModel, symbols: list[int]) -> list[bool]:
    found = patch_starts(row(symbols), model.entropies(row(symbols)), model.config, model.threshold)
    return found[0].tolist()  # type: ignore[no-any-return]


@EXAMPLES
@given(rule=st.sampled_from(list(RULES)), symbols=SYMBOLS)
def test_it_says_what_the_full_pass_says(models: dict[str, EntropyModel], rule: str, symbols: list[int]) -> None:
    patcher = Patcher(RULES[rule], models[rule])
    assert patcher.starts_next
    told = [True, *(patcher.push(symbol) for symbol in symbols)]
    # A start symbol starts a patch whatever was said before it, and only the full pass sees that it is one.
    found = zip(starts_of(models[rule], symbols), symbols, told, strict=False)
    assert all(start == (said or symbol == START) for start, symbol, said in found)
    assert told[-1] == patcher.starts_next


@pytest.mark.parametrize("rule", RULES)
def test_long_text(models: dict[str, EntropyModel], text: bytes, rule: str) -> None:
    symbols = [START, *text[20_000:21_500]]
    patcher = Patcher(RULES[rule], models[rule])
    told = [True, *(patcher.push(symbol) for symbol in symbols)]
    expected = starts_of(models[rule], symbols)
    assert told[:-1] == expected
    assert patcher.open_length == len(symbols) - max(place for place, start in enumerate(expected) if start)
    assert sum(told[1000:]) / 500 * models[rule].config.max_patch_size > 1  # it is cut at all


def test_an_adaptive_threshold_moves_and_begins_anew(models: dict[str, EntropyModel], text: bytes) -> None:
    patcher, still = (Patcher(RULES[rule], models[rule]) for rule in ("adaptive", "entropy"))
    for symbol in (START, *text[100:200]):
        patcher.push(symbol)
        still.push(symbol)
    assert patcher.theta != models["adaptive"].threshold and still.theta == models["entropy"].threshold
    patcher.push(START)
    assert patcher.theta == models["adaptive"].threshold


def test_a_copy_goes_its_own_way(models: dict[str, EntropyModel], text: bytes) -> None:
    one, told = Patcher(RULES["adaptive"], models["adaptive"]), []
    for symbol in text[:300]:
        for other in b"zz":
            one.copy().push(other)
        told.append(one.starts_next)
        one.push(symbol)
    assert told == starts_of(models["adaptive"], [*text[:300]])
    assert one.copy().theta == one.theta


def test_entropies_need_a_model() -> None:
    with pytest.raises(ConfigError, match="give an EntropyModel"):
        Patcher(PatchingConfig())
    patcher = Patcher(PatchingConfig(scheme="fixed", stride=2))
    assert [patcher.push(symbol) for symbol in b"abcd"] == [False, True, False, True]
