"""Data cut into its patches, to be looked at. N bytes.

Everything is told of the byte that was to be predicted: its entropy is what the model of entropies had to say before it came.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError, ResourceLimitError
from bitlm_core.layers.embedding import START
from bitlm_core.patching.boundaries import ADAPTIVE_RATE, PatchStatistics, patch_starts, patch_statistics
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel

MAX_INSPECTED = 1 << 24
"""Bytes at once; some numbers are held for each."""


@dataclass(frozen=True)
class PatchInspection:
    """One document of bytes and its patches.

    theta: the threshold at the beginning, bits; None where the scheme has none.
    entropies [N]: of each byte before it came, bits. starts [N]: True where a patch starts.
    """

    config: PatchingConfig
    theta: float | None
    data: NDArray[np.uint8]
    entropies: NDArray[np.float32]
    starts: NDArray[np.bool_]
    statistics: PatchStatistics

    def spans(self, first: int) -> list[tuple[int, int]]:
        """Begin and end of the first patches."""
        begins = np.flatnonzero(self.starts)[: first + 1].tolist()
        ends = [*begins[1:], len(self.data)]
        return list(zip(begins, ends, strict=True))[:first]

    def thresholds(self, first: int) -> NDArray[np.float64]:
        """[≤ first] the entropy above which each of the first bytes starts a patch, were it not for the bounds of sizes.

        NaN for the first byte, which always does. Raises ConfigError for a scheme without a threshold.
        """
        if self.theta is None:
            raise ConfigError(f"scheme={self.config.scheme!r} compares no entropy with a threshold: use scheme='entropy'")
        found = np.full(min(first, len(self.data)), np.nan)
        theta, rate, share = self.theta, ADAPTIVE_RATE if self.config.adaptive else 0.0, 1 / self.config.mean_patch_size
        for place in range(1, len(found)):
            found[place] = theta + (float(self.entropies[place - 1]) if self.config.monotonic else 0.0)
            theta += rate * (float(self.starts[place]) - share)
        return found


def inspect_patches(data: NDArray[np.uint8], config: PatchingConfig, model: EntropyModel | None = None) -> PatchInspection:
    """Cut bytes [N] as one document, by a model that was fitted before, or (None) by one fitted to these very bytes.

    Raises ConfigError where there are none, and ResourceLimitError above `MAX_INSPECTED`.
    """
    if not len(data):
        raise ConfigError("there is nothing to cut (0 bytes, at least 1): give some data")
    if len(data) > MAX_INSPECTED:
        raise ResourceLimitError(
            f"{len(data):,} bytes are more than the {MAX_INSPECTED:,} that are inspected at once: give a part of them",
            estimate=len(data),
            limit=MAX_INSPECTED,
        )
    if model is None:
        model = EntropyModel(config)
        model.fit(data)
    symbols = np.empty((1, len(data) + 1), np.int16)
    symbols[0, 0], symbols[0, 1:] = START, data
    entropies = np.empty((1, len(data) + 1), np.float32)
    entropies[0, 0], entropies[0, 1:] = float(model.none), model.after_bytes(data)
    starts = patch_starts(torch.from_numpy(symbols), torch.from_numpy(entropies), config, model.threshold)[:, 1:]
    return PatchInspection(
        config=config,
        theta=model.threshold if config.reads_entropies else None,
        data=data,
        entropies=entropies[0, :-1],
        starts=starts[0].numpy(),
        statistics=patch_statistics(starts),
    )
