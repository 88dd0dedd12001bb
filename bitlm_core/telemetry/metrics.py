"""K, C and S: how ordered, how incompressible and how familiar a sequence or a model is.

    K  negentropy       1 − H/H_max                       1 = ordered          of a model's logits, or of data
    C  lz_complexity    c(n) · log2 n / n                 1 = incompressible   c(n): LZ76 phrases
    S  symbiosis        1 − JSD(q ‖ r) / ln 2             1 = aligned          q: judged, r: reference
       composite        Σ λ·m / Σ λ                       one score; the metrics themselves are never scaled

In: numpy arrays of logits, bits or byte counts. Out: Python floats, 0 to 1 unless a docstring says otherwise.
Entropies are in nats inside; every K, C and S is a ratio.

What these numbers do not say: K and S of short data are biased by chance (K up, S down), so floors have to be
calibrated at the length they judge. S compares byte frequencies only: a shuffled text scores like the text.

C. E. Shannon, "A mathematical theory of communication" (1948); J. Lin, "Divergence measures based on the Shannon
entropy" (IEEE IT-37, 1991); A. Lempel, J. Ziv, "On the complexity of finite sequences" (IEEE IT-22, 1976).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bitlm_core.codec.bits import BitOrder, bits_to_bytes, bytes_to_bits
from bitlm_core.codec.parity import Parity, as_bits
from bitlm_core.errors import ConfigError
from bitlm_core.kernels.lz76 import lz76_phrases

MAX_BLOCK_BITS = 16  # 2^16 counts; a longer block needs more data than one sequence holds
_SATURATED = 800.0  # e^−800 is 0 in float64, so a larger |logit| changes nothing; it keeps ∞·0 out of the formula


@dataclass(frozen=True)
class SequenceMetrics:
    """K, C, S and the transition rate of one bit sequence, and the share of its parity groups that add up; all 0–1.

    symbiosis_kl: KL(its bytes ‖ the reference) in nats; parity_failures: how many groups do not add up.
    """

    k: float
    c: float
    s: float
    transition_rate: float
    valid_groups: float
    symbiosis_kl: float = 0.0
    parity_failures: int = 0


def negentropy_of_logits(logits: ArrayLike) -> float:
    """K = mean over positions of 1 − H(p)/ln 2, p = 1/(1 + e^−z): `float[...]` bit logits → 0 (coin) to 1 (certain).

    With e = e^−|z|: H(p) = ln(1 + e) + |z|·e/(1 + e), which neither overflows nor cancels. z = ±∞ counts as certain.
    float32 stays float32 until the mean, in float64 (K to 1e-7); everything else is computed in float64.
    Raises `ConfigError` (`size`, `nan`) for no logits, and for NaN, which would otherwise pass every floor.
    """
    given = np.asarray(logits)
    magnitude = np.abs(given if given.dtype == np.float32 else given.astype(np.float64))
    magnitude = np.minimum(magnitude, magnitude.dtype.type(_SATURATED))
    nan = int(np.count_nonzero(np.isnan(magnitude)))
    if magnitude.size == 0 or nan:
        raise ConfigError(
            f"negentropy needs logits that are numbers; {nan} of {magnitude.size} are NaN; check the model's weights",
            size=magnitude.size,
            nan=nan,
        )
    e = np.exp(-magnitude)
    entropy = np.log1p(e) + magnitude * e / (1 + e)
    return _unit(1 - float(entropy.mean(dtype=np.float64)) / math.log(2))


def negentropy_of_bits(bits: ArrayLike, k: int) -> float:
    """K = 1 − H_k/(k ln 2), H_k the entropy of non-overlapping k-bit blocks: `uint8[n]` → 0 (uniform) to 1 (constant).

    An incomplete last block is left out. H_k ≤ ln(number of blocks), so fewer than about 10·2^k blocks read as
    more ordered than they are. Raises `ConfigError` (`k`, `limit`) for k outside 1…16 and (`length`, `k`) for less
    than one block, `CodecError` as `as_bits`.
    """
    if not 1 <= k <= MAX_BLOCK_BITS:
        raise ConfigError(f"block length k is {k}; choose 1 to {MAX_BLOCK_BITS} bits", k=k, limit=MAX_BLOCK_BITS)
    checked = as_bits(bits)
    count = checked.size // k
    if count == 0:
        raise ConfigError(f"{checked.size} bits hold no block of {k}; pass more bits or a smaller k", length=checked.size, k=k)
    place_values = 1 << np.arange(k, dtype=np.int64)
    blocks = checked[: count * k].reshape(count, k) @ place_values
    return _unit(1 - _entropy(np.bincount(blocks) / count) / (k * math.log(2)))


def lz_complexity(bits: ArrayLike) -> float:
    """C = c(n)·log2(n)/n, clipped to 1; c(n) is the LZ76 phrase count: `uint8[n]` → 0 (repeats) to 1 (incompressible).

    Fewer than two bits hold no pattern to repeat: C is defined as 0 there (as log2 1 = 0 gives for n = 1).
    Sequences below about 100 bits come out high, and random ones reach the clip, as c(n) nears n/log2 n from above.
    Raises `CodecError` as `as_bits`, `ResourceLimitError` above 2²² bits.
    """
    checked = as_bits(bits)
    if checked.size < 2:
        return 0.0
    return min(1.0, lz76_phrases(checked) * math.log2(checked.size) / checked.size)


def transition_rate(bits: ArrayLike) -> float:
    """Share of neighbouring bits that differ: `uint8[n]` → 0 (constant) to 1 (0101…); 0 for fewer than two bits."""
    checked = as_bits(bits)
    if checked.size < 2:
        return 0.0
    return float(np.count_nonzero(checked[1:] != checked[:-1]) / (checked.size - 1))


def byte_histogram(data: bytes) -> NDArray[np.float64]:
    """How often each byte value occurs in `data`: counts as `float64[256]`; all zero for no data."""
    return np.bincount(np.frombuffer(data, dtype=np.uint8), minlength=256).astype(np.float64)


def symbiosis(q: ArrayLike, r: ArrayLike) -> float:
    """S = 1 − JSD(q ‖ r)/ln 2, JSD = ½ KL(q ‖ m) + ½ KL(r ‖ m), m = (q + r)/2: 0 (disjoint) to 1 (equal); symmetric.

    `q` and `r`: `float[V]` (256 for bytes), counts or probabilities; each is divided by its sum.
    Raises `ConfigError` for lengths that differ (`q_shape`, `r_shape`) and for a `q` or `r` that is empty, sums to 0,
    or has negative or non-finite entries (`which`).
    """
    q_weights, r_weights = _weights(q, r)
    q_probs, r_probs = q_weights / q_weights.sum(), r_weights / r_weights.sum()
    total = q_probs + r_probs
    # q/m as 2q/(q + r): halving the sum first could underflow to a division by zero.
    divergence = (_relative_entropy(2 * q_probs, total) + _relative_entropy(2 * r_probs, total)) / 4
    return _unit(1 - divergence / math.log(2))


def symbiosis_kl(q: ArrayLike, r: ArrayLike) -> float:
    """KL(q ‖ r) in nats, ≥ 0, with p_i = (count_i + ½)/(Σ count + V/2) for both: `float[V]` counts, not probabilities.

    The ½ is the Krichevsky–Trofimov estimate; it keeps the result finite where `r` has never seen a byte of `q`.
    On probabilities (sum 1) it would drown them, so pass counts. Raises `ConfigError` as `symbiosis`.
    """
    q_counts, r_counts = _weights(q, r)
    q_probs = (q_counts + 0.5) / (q_counts.sum() + q_counts.size / 2)
    r_probs = (r_counts + 0.5) / (r_counts.sum() + r_counts.size / 2)
    return max(0.0, _relative_entropy(q_probs, r_probs))


def symbiosis_by_position(q: ArrayLike, r: ArrayLike) -> float:
    """Mean over positions of `symbiosis`: `float[T, V]` twice, a model's predictions and its teacher's at the same places.

    Raises `ConfigError` (`q_shape`, `r_shape`) for other shapes or no position, and as `symbiosis`.
    """
    pair = np.asarray(q, dtype=np.float64), np.asarray(r, dtype=np.float64)
    if pair[0].ndim != 2 or pair[0].shape != pair[1].shape or not len(pair[0]):
        raise ConfigError(
            f"predictions have shapes {pair[0].shape} and {pair[1].shape}; pass two of one shape [T, V], T at least 1",
            q_shape=pair[0].shape,
            r_shape=pair[1].shape,
        )
    return math.fsum(symbiosis(*rows) for rows in zip(*pair, strict=True)) / len(pair[0])


def composite_score(k: float, c: float, s: float, lambdas: Sequence[float]) -> float:
    """(λ_K·K + λ_C·C + λ_S·S)/(λ_K + λ_C + λ_S), `lambdas` in that order: between the smallest and largest metric.

    Raises `ConfigError` (`lambdas`) unless there are three finite weights ≥ 0 with a sum above 0, and (`values`)
    for a metric that is not finite.
    """
    values = (k, c, s)
    if len(lambdas) != len(values) or not all(math.isfinite(weight) and weight >= 0 for weight in lambdas):
        raise ConfigError(
            f"lambdas are {list(lambdas)}; give three finite weights of 0 or more, for K, C and S", lambdas=lambdas
        )
    if not any(lambdas):
        raise ConfigError("all lambdas are 0, so nothing is weighed; set at least one above 0", lambdas=lambdas)
    if not all(map(math.isfinite, values)):
        raise ConfigError(f"K, C, S are {values}; a score needs finite metrics", values=values)
    largest = max(lambdas)  # divided out first, so that huge weights cannot overflow
    weights = [weight / largest for weight in lambdas]
    return math.fsum(weight * value for weight, value in zip(weights, values, strict=True)) / math.fsum(weights)


def measure_bits(
    bits: ArrayLike, reference: ArrayLike, *, parity: Parity = "even", bit_order: BitOrder = "msb", k: int = 8
) -> SequenceMetrics:
    """All sequence metrics of `uint8[n]` bits in parity groups, against the byte counts `reference` (`float[256]`).

    K (`k`-bit blocks) and S look at the data bits of whole groups; C and the transition rate at the bits as they are.
    Wrong parity is measured, not raised. Raises `ConfigError` for less than one group, and what the parts raise.
    """
    checked = as_bits(bits)
    decoded = bits_to_bytes(checked, parity=parity, bit_order=bit_order, errors="report")
    counts = byte_histogram(decoded.data)
    return SequenceMetrics(
        k=negentropy_of_bits(bytes_to_bits(decoded.data, parity="none"), k),
        c=lz_complexity(checked),
        s=symbiosis(counts, reference),
        transition_rate=transition_rate(checked),
        valid_groups=1 - len(decoded.bad_groups) / len(decoded.data),
        symbiosis_kl=symbiosis_kl(counts, reference),
        parity_failures=len(decoded.bad_groups),
    )


def _entropy(probs: NDArray[np.float64]) -> float:
    """H = −Σ p ln p, nats."""
    present = probs[probs > 0]
    return -float(np.sum(present * np.log(present)))


def _relative_entropy(probs: NDArray[np.float64], base: NDArray[np.float64]) -> float:
    """Σ p ln(p / base) over p > 0, nats; `base` need not sum to 1, and must be positive where p is."""
    present = probs > 0
    return float(np.sum(probs[present] * np.log(probs[present] / base[present])))


def _weights(q: ArrayLike, r: ArrayLike) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Both as `float64[V]`, checked as `symbiosis` promises."""
    pair = np.asarray(q, dtype=np.float64), np.asarray(r, dtype=np.float64)
    if pair[0].ndim != 1 or pair[0].shape != pair[1].shape:
        raise ConfigError(
            f"distributions have shapes {pair[0].shape} and {pair[1].shape}; pass two of one length",
            q_shape=pair[0].shape,
            r_shape=pair[1].shape,
        )
    for which, weights in zip("qr", pair, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):  # such sums are refused on the next line
            total = float(weights.sum())
        if not (math.isfinite(total) and total > 0 and weights.min() >= 0):
            raise ConfigError(
                f"distribution {which} sums to {total} over {weights.size} entries; "
                "pass counts or probabilities of 0 or more, at least one above 0",
                which=which,
            )
    return pair


def _unit(value: float) -> float:
    """`value` within 0…1: rounding may leave the last digit outside."""
    return min(1.0, max(0.0, value))
