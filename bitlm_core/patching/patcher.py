"""Patches of a sequence that is read symbol by symbol: what generation and scoring with a cache need."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.kernels import patch_rules
from bitlm_core.kernels.byte_entropy import Tables, next_entropy
from bitlm_core.patching.boundaries import rules_of
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel


class Patcher:
    """Reads symbols as the full pass does, and knows of each at once whether the next one starts a patch.

    model: needed by scheme="entropy" alone. What it holds of it is read, never written.
    """

    def __init__(self, config: PatchingConfig, model: EntropyModel | None = None) -> None:
        if config.reads_entropies and model is None:
            raise ConfigError("scheme='entropy' reads entropies, and there is no model of them: give an EntropyModel")
        theta = 0.0 if model is None else model.threshold
        self._rules = rules_of(config, theta)
        self._tables: Tables | None = model.tables() if model is not None and config.reads_entropies else None
        self._shift = 0 if model is None else model.shift
        self._resets = model is not None and model.resets
        self._state = np.zeros(patch_rules.NUM_STATE)
        self._state[patch_rules.NEXT] = 1.0
        self._recent: NDArray[np.int64] = np.zeros(2, np.int64)

    def push(self, symbol: int) -> bool:
        """Read one symbol (0 … 255, or START); whether the next one starts a patch."""
        entropy = 0.0
        if self._tables is not None:
            entropy = float(next_entropy(symbol, self._recent, self._resets, self._tables, self._shift))
        return bool(patch_rules.step(self._rules, self._state, symbol, entropy))

    @property
    def starts_next(self) -> bool:
        """What the last `push` returned; True before the first."""
        return bool(self._state[patch_rules.NEXT])

    @property
    def open_length(self) -> int:
        """Symbols of the patch that the last symbol belongs to."""
        return int(self._state[patch_rules.OPEN])

    @property
    def theta(self) -> float:
        """θ as it stands now, in bits."""
        return float(self._state[patch_rules.THETA])

    def copy(self) -> Self:
        """One that stands at the same place and goes its own way."""
        twin = type(self).__new__(type(self))
        twin.__dict__ |= self.__dict__
        twin._state, twin._recent = self._state.copy(), self._recent.copy()
        return twin
