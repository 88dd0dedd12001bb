"""The model whose entropies say where patches start: counts of the last three bytes, taken once and frozen. B batch, T symbols.

It is a part of the network's state: with other tables, other patches. Its buffers go where the network goes, and a checkpoint
holds them. Fitted to training data, it knows nothing of what is scored.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from bitlm_core.errors import ConfigError
from bitlm_core.kernels import byte_entropy, patch_rules
from bitlm_core.layers.embedding import START
from bitlm_core.patching.boundaries import rules_of
from bitlm_core.patching.config import PatchingConfig

ROWS = 1 << 18
FIT_BYTES = 1 << 23
"""So many bytes are counted; of longer data, pieces taken evenly."""
_PIECES = 64
_TOLERANCE = 0.002
_HALVINGS = 30
_NEWLINE = 10


@dataclass(frozen=True)
class EntropyFit:
    """What fitting found. theta: bits. mean_patch_size: with this θ, on the data that was counted, under all rules."""

    theta: float
    mean_patch_size: float
    bytes_counted: int


class EntropyModel(nn.Module):
    """Entropies of the next byte in bits, and the threshold θ that belongs to them.

    Unfitted, it knows nothing: every entropy is 8 bits, and θ is the configured one or 8, so that patches are as long as they
    may be. rows: how many contexts of three bytes have an entropy of their own, a power of two.
    """

    none: Tensor
    one: Tensor
    two: Tensor
    checks: Tensor
    three: Tensor
    theta: Tensor
    fitted: Tensor

    def __init__(self, config: PatchingConfig, rows: int = ROWS) -> None:
        super().__init__()
        if not 1 <= rows <= 1 << 24 or rows & (rows - 1):
            raise ConfigError(f"rows={rows} is no power of two up to {1 << 24}: give one", rows=rows)
        self.config, self.resets = config, config.reset_context
        for name, table in zip(("none", "one", "two", "checks", "three"), byte_entropy.empty_tables(rows), strict=True):
            self.register_buffer(name, torch.from_numpy(table))
        self.register_buffer("theta", torch.tensor(8.0 if config.entropy_threshold is None else config.entropy_threshold))
        self.register_buffer("fitted", torch.tensor(False))
        self.shift = byte_entropy.hash_shift(rows)

    def fit(self, data: NDArray[np.uint8]) -> EntropyFit:
        """Count bytes [N], at most `FIT_BYTES` taken evenly, and choose θ unless the configuration has one.

        They count as one stream: at the joints of pieces and documents a few contexts are met that there are not.

        Where few entropies are told apart (a constant file), no θ gives the wanted size: the nearest is taken, and the result
        says what came of it. Raises ConfigError for data without a byte.
        """
        sample = taken_evenly(data)
        tables = byte_entropy.entropy_tables(sample, len(self.checks))
        theta, mean = _choose(self.config, sample, self._read(sample, tables))
        for name, table in zip(("none", "one", "two", "checks", "three"), tables, strict=True):
            getattr(self, name).copy_(torch.from_numpy(table))
        self.theta.fill_(theta)
        self.fitted.fill_(True)
        return EntropyFit(theta, mean, len(sample))

    def entropies(self, symbols_BT: Tensor, before_BN: Tensor | None = None) -> Tensor:
        """[B, T] symbols → fp32 [B, T]: H of the byte after each, from it and at most two before it; on the model's device.

        `before`: the last two (or more) symbols before the first; none: rows begin. What is no byte ends all contexts.
        """
        symbols_BT = symbols_BT.to(self.none.device)
        if before_BN is None:
            line = F.pad(symbols_BT, (2, 0), value=START)
        else:
            line = torch.cat([before_BN[:, -2:].to(symbols_BT), symbols_BT], dim=1)
        last, second, third = line[:, 2:], line[:, 1:-1], line[:, :-2]
        no_second, no_third = second > 255, third > 255
        if self.resets:
            no_second, no_third = no_second | (last == _NEWLINE), no_third | (second == _NEWLINE)
        pair = ((second << 8) + last) & 0xFFFF
        triple = ((third & 255) << 16) + pair
        row = byte_entropy.row_of.py_func(triple, self.shift)
        known = (self.checks[row] == triple) & ~no_third
        found = torch.where(known, self.three[row], self.two[pair])
        found = torch.where(no_second, self.one[last & 255], found)
        return torch.where(last > 255, self.none, found)

    def after_bytes(self, data: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Bytes [N] of one document → H [N] after each: as `entropies`, on the CPU, with less memory and in less time."""
        return self._read(np.ascontiguousarray(data), self.tables())

    def _read(self, data: NDArray[np.uint8], tables: byte_entropy.Tables) -> NDArray[np.float32]:
        found = np.empty(len(data), np.float32)
        byte_entropy.byte_entropies(data, self.resets, tables, self.shift, found)
        return found

    def tables(self) -> byte_entropy.Tables:
        """The tables as arrays of the CPU, to be read only; see `kernels.byte_entropy`."""
        none, one, two, checks, three = (
            each.cpu().numpy() for each in (self.none, self.one, self.two, self.checks, self.three)
        )
        return none, one, two, checks, three

    @property
    def threshold(self) -> float:
        """θ in bits."""
        return float(self.theta)


def taken_evenly(data: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """All of it, or pieces at equal distances, `FIT_BYTES` together. Raises ConfigError for none."""
    if not len(data):
        raise ConfigError("there is nothing to count (0 bytes, at least 1): give some data")
    if len(data) <= FIT_BYTES:
        return np.ascontiguousarray(data)
    begins = np.linspace(0, len(data) - FIT_BYTES // _PIECES, _PIECES).astype(np.int64)
    return np.concatenate([data[begin : begin + FIT_BYTES // _PIECES] for begin in begins])


def _choose(config: PatchingConfig, data: NDArray[np.uint8], entropies: NDArray[np.float32]) -> tuple[float, float]:
    """θ and the mean patch size that it gives; θ as fp32 holds it."""
    still = config.model_copy(update={"adaptive": False})

    def mean_at(theta: float) -> float:
        return len(data) / int(patch_rules.count_starts(rules_of(still, theta), data, entropies))

    if not config.reads_entropies or config.entropy_threshold is not None:
        theta = 8.0 if config.entropy_threshold is None else float(np.float32(config.entropy_threshold))
        return theta, mean_at(theta)
    wanted, low, high = config.mean_patch_size, -9.0, 9.0
    tried = [(abs(mean_at(theta) - wanted), theta, mean_at(theta)) for theta in (low, high)]
    for _ in range(_HALVINGS):
        if min(tried)[0] <= _TOLERANCE * wanted:
            break
        theta = float(np.float32((low + high) / 2))
        mean = mean_at(theta)
        tried.append((abs(mean - wanted), theta, mean))
        low, high = (theta, high) if mean < wanted else (low, theta)
    _, theta, mean = min(tried)
    return theta, mean
