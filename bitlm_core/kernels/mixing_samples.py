"""Samples: their value predicted from earlier ones, and the bits of a byte from the distribution around it.

A prediction is a centre and a spread; the value is taken to be logistic around it, P(value < v) = squash((v − centre) /
spread). Centres come from normalised least mean squares over neighbours, and from simple rules (median edge detection for
images, as in LOCO-I, Weinberger et al. 2000; linear extrapolation for waves). Units: centres and spreads are in 1/256.
"""

from __future__ import annotations

import numpy as np

from bitlm_core.kernels.mixing_contexts import byte_before
from bitlm_core.kernels.mixing_layout import (
    AT_SAMPLE,
    BIG_ENDIAN,
    BYTE_SAMPLES,
    CENTRES,
    DOC,
    HALF,
    KIND,
    NUM_PREDICTED,
    NUM_SAMPLE,
    PERIOD,
    SPREAD_OF,
    STRIDE,
    TAPS,
    WORD_SAMPLES,
    Int,
    Memory,
    Scratch,
    Tables,
    kernel,
)

ONE = 1 << 22
PIXELS = 12  # neighbours of a byte sample
SHORT = 8  # taps of the quick prediction of a word sample


@kernel
def _within(value: Int, limit: Int) -> Int:
    return min(limit, max(-limit, value))


@kernel
def _log2(value: Int) -> Int:
    """Twice the binary logarithm, to halves: 0 for less than 2."""
    n: Int = 0
    while value > 3:
        value >>= 1
        n += 2
    return n + max(0, value - 1)


@kernel
def _word_before(m: Memory, distance: Int) -> Int:
    """The signed 16-bit value whose first byte is `distance` bytes back."""
    first, second = byte_before(m, distance), byte_before(m, distance - 1)
    value = (first << 8) | second if m.context[BIG_ENDIAN] else (second << 8) | first
    return value - 65536 if value > 32767 else value


@kernel
def _look_around(m: Memory, s: Scratch) -> Int:
    """The neighbours of a byte sample, as differences from their mean in 1/4; returns four times that mean."""
    row, left = m.context[PERIOD], m.context[STRIDE]
    a = s.around
    a[0] = byte_before(m, left)
    a[1] = byte_before(m, row)
    a[2] = byte_before(m, row + left)
    a[3] = byte_before(m, row - left)
    a[4] = byte_before(m, 2 * left)
    a[5] = byte_before(m, 2 * row)
    a[6] = byte_before(m, 2 * row + left)
    a[7] = byte_before(m, 2 * row - left)
    a[8] = byte_before(m, row + 2 * left)
    a[9] = byte_before(m, row - 2 * left)
    a[10] = byte_before(m, 3 * left)
    a[11] = byte_before(m, 3 * row)
    return a[0] + a[1] + a[2] + a[3]


@kernel
def _predict_byte(m: Memory, s: Scratch) -> None:
    mean4 = _look_around(m, s)
    a = s.around
    west, north, north_west, north_east = a[0], a[1], a[2], a[3]
    activity = abs(west - north_west) + abs(north - north_west) + abs(north - north_east) + abs(west - a[4])
    low, high = min(west, north), max(west, north)
    edge = low if north_west >= high else (high if north_west <= low else west + north - north_west)
    total: Int = 0
    for i in range(PIXELS):
        a[i] = 4 * a[i] - mean4
        total += m.taps[0, 0, i] * a[i]
    s.sample[NUM_PREDICTED] = 2
    s.sample[HALF] = 0
    s.sample[CENTRES] = min(65535, max(0, 64 * mean4 + (total >> 10)))
    s.sample[CENTRES + 1] = 256 * edge
    s.sample[SPREAD_OF] = min(15, _log2(activity + 1))
    s.sample[SPREAD_OF + 1] = s.sample[SPREAD_OF]


@kernel
def _predict_word(m: Memory, s: Scratch) -> None:
    half = m.context[DOC] & 1
    s.sample[NUM_PREDICTED] = NUM_SAMPLE
    s.sample[HALF] = half
    a = s.around
    channel = (m.context[DOC] >> 1) % (m.context[STRIDE] >> 1) & 1
    long, quick = np.int64(0), np.int64(0)
    for i in range(TAPS):
        a[i] = _word_before(m, 2 * i + 2 + half)
        long += m.taps[channel, 0, i] * a[i]
    step = m.context[STRIDE] >> 1
    for i in range(SHORT):
        quick += m.taps[channel, 1, i] * a[i]
    s.sample[CENTRES] = _within(long >> 8, 32767 * 256)
    s.sample[CENTRES + 1] = _within(quick >> 8, 32767 * 256)
    s.sample[CENTRES + 2] = _within(256 * (2 * a[step - 1] - a[2 * step - 1]), 32767 * 256)
    for k in range(NUM_SAMPLE):
        s.sample[SPREAD_OF + k] = channel


@kernel
def predict_sample(m: Memory, s: Scratch) -> None:
    """Centres and spreads for the coming byte; none for data that is no samples."""
    s.sample[NUM_PREDICTED] = 0
    if m.context[KIND] == BYTE_SAMPLES:
        _predict_byte(m, s)
    elif m.context[KIND] == WORD_SAMPLES:
        _predict_word(m, s)


@kernel
def _below(t: Tables, value: Int, centre: Int, inverse: Int) -> Int:
    """P(sample < value), 1 = 2^22. inverse: 2^24 / spread."""
    at = ((256 * value - 128 - centre) * inverse) >> 16
    return np.int64(t.squash[min(3072, max(-3072, at)) + 3072])


@kernel
def _density(t: Tables, value: Int, centre: Int, inverse: Int) -> Int:
    f = np.int64(t.squash[min(3072, max(-3072, ((256 * value - centre) * inverse) >> 16)) + 3072])
    return (f * (ONE - f)) >> 16


@kernel
def _upper_share(t: Tables, start: Int, half: Int, last: Int, centre: Int, inverse: Int) -> Int:
    """Of the probability of [start, start + 2 half), that of its upper half; what is at an end reaches to infinity."""
    a = _below(t, start, centre, inverse) if start != last - 255 else np.int64(0)
    c = _below(t, start + 2 * half, centre, inverse) if start + 2 * half <= last else np.int64(ONE)
    b = _below(t, start + half, centre, inverse)
    return ((max(0, c - b) + 4) << 22) // (max(0, c - a) + 8)


@kernel
def _first_of_little_endian(t: Tables, start: Int, half: Int, centre: Int, inverse: Int, spread: Int) -> Int:
    """The low half comes first: all values of the upper half that are near the centre."""
    middle = centre >> 16
    reach = min(8, 1 + ((spread * 6) >> 16))
    lower, upper = np.int64(64), np.int64(64)
    for high in range(middle - reach, middle + reach + 1):
        value = 256 * high + start
        b = _below(t, value + half, centre, inverse)
        lower += max(0, b - _below(t, value, centre, inverse))
        upper += max(0, _below(t, value + 2 * half, centre, inverse) - b)
    return (upper << 22) // (lower + upper)


@kernel
def _second_of_little_endian(t: Tables, start: Int, half: Int, low: Int, centre: Int, inverse: Int) -> Int:
    """The low half is known: the density at each value of the upper one."""
    lower, upper = np.int64(64), np.int64(64)
    for high in range(start, start + half):
        value = 256 * (high - 256 if high > 127 else high) + low
        lower += _density(t, value, centre, inverse)
        above = high + half
        value = 256 * (above - 256 if above > 127 else above) + low
        upper += _density(t, value, centre, inverse)
    return (upper << 22) // (lower + upper)


@kernel
def _share_of_word(m: Memory, t: Tables, s: Scratch, start: Int, half: Int, centre: Int, spread: Int) -> Int:
    inverse = (1 << 24) // spread
    first = byte_before(m, 1)
    if m.context[BIG_ENDIAN] == 0:
        if s.sample[HALF] == 1:
            return _second_of_little_endian(t, start, half, first, centre, inverse)
        if spread > 400 * 256:
            return np.int64(ONE >> 1)
        return _first_of_little_endian(t, start, half, centre, inverse, spread)
    if s.sample[HALF] == 0:
        if half == 128:  # the sign
            return _below(t, 0, centre, inverse)
        signed = 256 * (start - 256 if start > 127 else start)
        return _upper_share(t, signed, 256 * half, 1 << 40, centre, inverse)
    high = 256 * (first - 256 if first > 127 else first)
    return _upper_share(t, high + start, half, 1 << 40, centre, inverse)


@kernel
def share_of_ones(m: Memory, t: Tables, s: Scratch, node: Int, k: Int, i: Int) -> Int:
    """P(bit k below `node` = 1) by prediction i, 1 = 2^22, never certain."""
    centre = s.sample[CENTRES + i]
    start, half = (node << (8 - k)) & 255, 1 << (7 - k)
    spread = m.spreads[i, s.sample[SPREAD_OF + i]]
    if m.context[KIND] == BYTE_SAMPLES:
        p = _upper_share(t, start, half, 255, centre, (1 << 24) // (spread + 90))
    else:
        p = _share_of_word(m, t, s, start, half, centre, ((spread * 5) >> 3) + 256)
    return min(ONE - 16, max(16, p))


@kernel
def _adapt_taps(m: Memory, s: Scratch, channel: Int, i: Int, count: Int, error: Int, gain: Int, floor: Int) -> None:
    """Normalised least mean squares: w += gain · error · x / Σ x²; gain 1 = 2^-8."""
    power = np.int64(floor)
    for n in range(count):
        power += s.around[n] * s.around[n]
    step = (error * gain << 12) // power
    for n in range(count):
        m.taps[channel, i, n] += (step * s.around[n]) >> 12


@kernel
def learn_sample(m: Memory, s: Scratch, byte: Int) -> None:
    """Move taps and spreads towards the value that came; for words, when its second half is there."""
    if s.sample[NUM_PREDICTED] == 0:
        return
    if m.context[KIND] == BYTE_SAMPLES:
        for i in range(2):
            error = abs(256 * byte - s.sample[CENTRES + i])
            at = s.sample[SPREAD_OF + i]
            m.spreads[i, at] += ((error * 154) - 256 * m.spreads[i, at]) // 25600
        _adapt_taps(m, s, 0, 0, PIXELS, 256 * byte - s.sample[CENTRES], 16, 480)
        return
    if s.sample[HALF] == 0:
        return
    first = byte_before(m, 1)
    value = (first << 8) | byte if m.context[BIG_ENDIAN] else (byte << 8) | first
    value = 256 * (value - 65536 if value > 32767 else value)
    for i in range(NUM_SAMPLE):
        at = s.sample[SPREAD_OF + i]
        m.spreads[i, at] += (abs(value - s.sample[CENTRES + i]) - m.spreads[i, at]) >> 5
    channel = s.sample[SPREAD_OF]
    _adapt_taps(m, s, channel, 0, TAPS, value - s.sample[CENTRES], 2, 100)
    _adapt_taps(m, s, channel, 1, SHORT, value - s.sample[CENTRES + 1], 5, 100)


@kernel
def sample_inputs(m: Memory, t: Tables, s: Scratch, node: Int, k: Int) -> None:
    """The mixer's inputs from the predictions; 0 where there are none."""
    for i in range(NUM_SAMPLE):
        s.inputs[k, AT_SAMPLE + i] = 0
        if i < s.sample[NUM_PREDICTED]:
            p = share_of_ones(m, t, s, node, k, i)
            s.inputs[k, AT_SAMPLE + i] = _within(np.int64(t.stretch[p >> 10]), 2047)
