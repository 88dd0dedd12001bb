"""Gaps filled with valid UTF-8: the automaton, the distribution that is drawn from, and what cannot be filled."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest

from bitlm_core import ConfigError
from bitlm_core.generation.utf8_gaps import BETWEEN, DEAD, FIRST_OF_RANGE, NEXT, RANGE_OF_BYTE, Utf8Gaps

Array = np.ndarray


def is_valid(data: bytes) -> bool:
    try:
        data.decode()
    except UnicodeDecodeError:
        return False
    return True


def test_the_automaton_accepts_what_python_decodes() -> None:
    edges = sorted({int(first) + offset for first in FIRST_OF_RANGE for offset in (-1, 0)} & set(range(256)) | {0xFF})
    leads, others = [byte for byte in edges if byte >= 0xDF], [byte for byte in edges if 0x7F <= byte <= 0xC0]
    three, four = product(leads, edges, others), product(leads, others, others, others)
    for some in (product(edges), product(edges, edges), three, four):
        for data in map(bytes, some):
            state = BETWEEN
            for byte in data:
                state = DEAD if state == DEAD else int(NEXT[state, RANGE_OF_BYTE[byte]])
            assert (state == BETWEEN) == is_valid(data), data


def draw(before: bytes, data: bytes, after: bytes, log_probs: Array, number: Array | None) -> bytes:
    """Fill the zero bytes of `data`."""
    hidden = np.frombuffer(data, np.uint8) == 0
    known = b"\xff" * len(before) + bytes(0 if gap else 255 for gap in hidden) + b"\xff" * len(after)
    values = np.frombuffer(data, np.uint8).astype(np.int64)
    found = Utf8Gaps(before + data + after, known).draw(before, hidden, values, log_probs, number)
    values[hidden] = found
    return before + bytes(values.tolist()) + after


def log_probs_of(count: int, seed: int) -> Array:
    weights = np.random.default_rng(seed).exponential(size=(count, 256)) ** 4
    found: Array = np.log(weights / weights.sum(axis=1, keepdims=True))
    return found


def test_whatever_is_drawn_is_valid_together_with_what_is_known() -> None:
    random = np.random.default_rng(1)
    euro = "€".encode()
    for seed in range(60):
        log_probs = log_probs_of(7, seed)
        filled = draw(euro[:1], b"\0\0\0a\0\0\0\0", euro[2:], log_probs, None if seed % 4 == 0 else random.random(7))
        assert filled.startswith(euro[:1]) and filled.endswith(b"\xac") and filled[4] == ord("a") and is_valid(filled)


def test_fillings_are_drawn_from_the_distribution_conditioned_on_being_valid() -> None:
    # Two bytes of which few values are possible: all pairs are counted. The tolerance is 6.5 standard deviations.
    log_probs = np.full((2, 256), -np.inf)
    log_probs[0, [0x41, 0xC3, 0x80]] = np.log([0.2, 0.5, 0.3])
    log_probs[1, [0x42, 0xA9, 0xC3]] = np.log([0.1, 0.6, 0.3])
    wanted = {b"AB": 0.2 * 0.1, "é".encode(): 0.5 * 0.6}
    random, counts, draws = np.random.default_rng(2), dict.fromkeys(wanted, 0), 2000
    gaps = Utf8Gaps(b"\0\0", b"\0\0")
    for _ in range(draws):
        hidden, data = np.ones(2, bool), np.zeros(2, np.int64)
        counts[bytes(gaps.draw(b"", hidden, data, log_probs, random.random(2)).tolist())] += 1
    assert counts[b"AB"] / draws == pytest.approx(wanted[b"AB"] / sum(wanted.values()), abs=0.035)
    best = gaps.draw(b"", np.ones(2, bool), np.zeros(2, np.int64), log_probs, None)
    assert bytes(best.tolist()) == "é".encode()


def test_a_valid_filling_is_found_however_unlikely_it_is() -> None:
    log_probs = np.full((3, 256), -800.0)
    log_probs[:, 0xFF] = 0.0
    for number in (None, np.zeros(3), np.full(3, 1 - 1e-16)):
        assert is_valid(draw(b"", b"\0\0\0", b"", log_probs, number))


@pytest.mark.parametrize(
    ("data", "known", "offset"),
    [
        (b"ab\xff\0", b"\xff\xff\xff\0", 2),
        ("é".encode()[1:] + b"\0", b"\xff\0", 0),
        (b"\0a\xa9", b"\0\xff\xff", 2),
        (b"\0\xf0", b"\0\xff", 2),
        (b"\xe2\0b", b"\xff\0\xff", 2),
        (b"a\xc0", b"\xff\xfe", 1),
    ],
)
def test_what_no_filling_makes_valid_is_refused_and_the_place_named(data: bytes, known: bytes, offset: int) -> None:
    with pytest.raises(ConfigError, match="constraint='none'") as caught:
        Utf8Gaps(data, known)
    assert caught.value.offset == offset
