"""The automaton against the rules as they are told, looked up anew for each symbol."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from bitlm_core.kernels import patch_rules as kernel

START = 257
EXAMPLES = settings(derandomize=True, deadline=None, max_examples=150)
SYMBOLS = st.lists(st.sampled_from([START, 10, 32, 44, 65, 97, 122, 48, 200]), min_size=5, max_size=60)


@st.composite
def rules(draw: st.DrawFn) -> np.ndarray:
    found = np.zeros(kernel.NUM_RULES)
    found[kernel.SCHEME] = draw(st.sampled_from([kernel.ENTROPY, kernel.ENTROPY, kernel.SPACE, kernel.FIXED]))
    found[kernel.MONOTONIC] = draw(st.booleans())
    found[kernel.SHORTEST] = draw(st.integers(1, 4))
    found[kernel.LONGEST] = found[kernel.SHORTEST] + draw(st.integers(0, 6))
    found[kernel.STRIDE] = draw(st.integers(1, 5))
    found[kernel.RATE] = draw(st.sampled_from([0.0, 0.0, 0.1, 1.0]))
    found[kernel.SHARE] = 1 / draw(st.integers(1, 5))
    found[kernel.THRESHOLD] = draw(st.sampled_from([-9.0, 0.0, 1.5, 1.5, 4.0]))
    found[kernel.START] = START
    return found


def starts_as_told(rules: np.ndarray, symbols: list[int], entropies: list[float]) -> list[bool]:
    """From the symbols up to each place: the open patch is cut out of them, and the rule is read off it."""
    starts: list[bool] = []
    theta, cut = rules[kernel.THRESHOLD], True
    for place, symbol in enumerate(symbols):
        starts.append(cut or symbol == START)
        if symbol == START:
            theta, cut = rules[kernel.THRESHOLD], True
            continue
        patch = symbols[max(index for index, start in enumerate(starts) if start) : place + 1]
        in_word = [each > 127 or chr(each).isalnum() for each in patch]
        before = entropies[place - 1] if rules[kernel.MONOTONIC] and place else 0.0
        said = {
            kernel.ENTROPY: entropies[place] - before > theta,
            kernel.SPACE: any(in_word) and not in_word[-1],
            kernel.FIXED: len(patch) >= rules[kernel.STRIDE],
        }[int(rules[kernel.SCHEME])]
        cut = bool(len(patch) >= rules[kernel.LONGEST] or (len(patch) >= rules[kernel.SHORTEST] and said))
        if rules[kernel.RATE]:
            theta += rules[kernel.RATE] * (cut - rules[kernel.SHARE])
    return starts


def entropies_for(symbols: list[int]) -> np.ndarray:
    """Some entropy for each symbol, the same on every run; many are what thresholds are, and so not above them."""
    return np.random.default_rng(len(symbols)).choice([0.0, 1.5, 4.0, 7.5], len(symbols)).astype(np.float32)


@EXAMPLES
@given(rules=rules(), symbols=SYMBOLS)
def test_rows_are_cut_as_the_rules_tell(rules: np.ndarray, symbols: list[int]) -> None:
    entropies = entropies_for(symbols)
    states = np.zeros((1, kernel.NUM_STATE))
    states[0, kernel.NEXT] = 1
    ends = np.empty((1, len(symbols)), np.bool_)
    kernel.mark_ends(rules, states, np.array([symbols], np.int16), entropies[None], ends)
    starts = [after or symbol == START for after, symbol in zip([True, *ends[0, :-1].tolist()], symbols, strict=True)]
    assert starts == starts_as_told(rules, symbols, entropies.tolist())


@EXAMPLES
@given(rules=rules(), symbols=SYMBOLS)
def test_as_many_patches_are_counted(rules: np.ndarray, symbols: list[int]) -> None:
    data = [symbol & 255 for symbol in symbols]
    entropies = entropies_for(data)
    found = kernel.count_starts(rules, np.array(data, np.uint8), entropies)
    assert found == sum(starts_as_told(rules, data, entropies.tolist()))
