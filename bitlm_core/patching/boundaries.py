"""Where patches start, and what they are like. B batch, T symbols.

Position t holds symbol s_t: a byte, or START before the first byte of a document. Whether s_{t+1} starts a patch follows from
s_0 … s_t of its own document alone, so symbols that are appended never move a boundary. START is a patch of its own: a symbol
after it starts one, and nothing that stands before it counts.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.errors import ConfigError
from bitlm_core.kernels import patch_rules
from bitlm_core.layers.embedding import START
from bitlm_core.patching.config import PatchingConfig

ADAPTIVE_RATE = 0.1
"""Bits by which θ gives way, see `kernels.patch_rules`: 10 patches more or less than wanted for each bit that it has to move.

On text, starts are found at the same entropies as with a fixed θ (3.93 bits on average, 4.04 on enwik6); from 0.4 on, lower.
"""
_SCHEMES = {"entropy": patch_rules.ENTROPY, "space": patch_rules.SPACE, "fixed": patch_rules.FIXED}


@dataclass(frozen=True)
class PatchStatistics:
    """Lengths in symbols. histogram: entry i counts the patches of length i + 1."""

    num_patches: int
    mean: float
    spread: float
    shortest: int
    longest: int
    histogram: tuple[int, ...]


def patch_ends(
    symbols_BT: Tensor, entropies_BT: Tensor | None, config: PatchingConfig, theta: float, *, states_BS: Tensor | None = None
) -> Tensor:
    """[B, T] symbols and the entropies after them, in bits → bool [B, T], where the symbols are: True where a patch ends.

    That is, where the symbols up to this one say that the next one starts a patch; a START that comes unforeseen also does.
    Only scheme="entropy" reads the entropies and θ. `states_BS`: as `open_states` gave them; the rows go on there, and they are
    left where the rows end. Computed on the CPU.
    """
    symbols = _rows(symbols_BT, torch.int16)
    entropies: NDArray[Any] = np.zeros(symbols.shape, np.float32)
    if config.reads_entropies:
        if entropies_BT is None or entropies_BT.shape != symbols_BT.shape:
            shape = None if entropies_BT is None else tuple(entropies_BT.shape)
            raise ConfigError(
                f"entropies of shape {shape} do not go with symbols of {tuple(symbols_BT.shape)}: scheme='entropy' "
                "needs one of each symbol"
            )
        entropies = _rows(entropies_BT, torch.float32)
    states = (open_states(len(symbols_BT)) if states_BS is None else states_BS).numpy()
    ends = np.empty(symbols.shape, np.bool_)
    patch_rules.mark_ends(rules_of(config, theta), states, symbols, entropies, ends)
    return torch.from_numpy(ends).to(symbols_BT.device)


def starts_after(ends_BT: Tensor, symbols_BT: Tensor, first_B1: Tensor | None = None) -> Tensor:
    """Where patches start, from where they end: the first symbol (unless `first` says otherwise), START, and what follows an
    end."""
    first_B1 = torch.ones_like(ends_BT[:, :1]) if first_B1 is None else first_B1.to(ends_BT.device)
    return torch.cat([first_B1, ends_BT[:, :-1]], dim=1) | (symbols_BT == START)


def patch_starts(
    symbols_BT: Tensor, entropies_BT: Tensor | None, config: PatchingConfig, theta: float, *, states_BS: Tensor | None = None
) -> Tensor:
    """True where a patch starts: `starts_after` `patch_ends`."""
    first_B1 = None if states_BS is None else states_BS[:, patch_rules.NEXT, None] != 0
    return starts_after(patch_ends(symbols_BT, entropies_BT, config, theta, states_BS=states_BS), symbols_BT, first_B1)


def open_states(batch: int) -> Tensor:
    """[B, S] float64: rows before their first symbol."""
    states = torch.zeros(batch, patch_rules.NUM_STATE, dtype=torch.float64)
    states[:, patch_rules.NEXT] = 1.0
    return states


def rules_of(config: PatchingConfig, theta: float) -> NDArray[np.float64]:
    """The rules as the kernel takes them."""
    rules = np.zeros(patch_rules.NUM_RULES)
    rules[patch_rules.SCHEME] = _SCHEMES[config.scheme]
    rules[patch_rules.MONOTONIC] = config.monotonic
    rules[patch_rules.SHORTEST], rules[patch_rules.LONGEST] = config.min_patch_size, config.max_patch_size
    rules[patch_rules.STRIDE] = config.stride or 0
    rules[patch_rules.RATE] = ADAPTIVE_RATE if config.adaptive else 0.0
    rules[patch_rules.SHARE] = 1 / config.mean_patch_size
    rules[patch_rules.THRESHOLD], rules[patch_rules.START] = theta, START
    return rules


def patch_statistics(starts_BT: Tensor) -> PatchStatistics:
    """Of patches that are marked by their starts; what a row begins and ends with counts as a patch of its own.

    Raises ConfigError where there are none.
    """
    if not starts_BT.numel():
        raise ConfigError(f"starts of shape {tuple(starts_BT.shape)} mark no patch: give at least one symbol")
    starts = starts_BT.detach().cpu().numpy().astype(bool)
    starts[:, 0] = True
    places = np.flatnonzero(starts.reshape(-1))
    lengths = np.diff(places, append=starts.size)
    histogram = np.bincount(lengths)[1:]
    return PatchStatistics(
        num_patches=len(lengths),
        mean=float(lengths.mean()),
        spread=float(lengths.std()),
        shortest=int(lengths.min()),
        longest=int(lengths.max()),
        histogram=tuple(histogram.tolist()),
    )


def _rows(tensor: Tensor, dtype: torch.dtype) -> NDArray[Any]:
    if tensor.ndim != 2:
        raise ConfigError(f"patches are found in rows [B, T], and this is of shape {tuple(tensor.shape)}: give two dimensions")
    rows: NDArray[Any] = tensor.detach().to("cpu", dtype).contiguous().numpy()
    return rows
