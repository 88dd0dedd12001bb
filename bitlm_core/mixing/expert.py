"""The network as an expert: its bit logits for every byte of a stream, computed window by window.

Where there is no network there are no logits: the windows come all the same, and the mixer reads them alone.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.errors import ModelStateError
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.windows import Window
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.models.interface import LanguageModel

WINDOWS_PER_BATCH = 16
POSITIONS_PER_BATCH = 4096  # memory grows with positions: bytes, or nine times as many bits; one window always fits


def window_bytes(model: LanguageModel | None) -> int:
    """Bytes in a window of the network; where there is none, the most that is read at once."""
    return model.config.max_bytes if model else MIX_BYTES


def expert_path_logits(
    model: LanguageModel | None, data: NDArray[np.uint8], windows: Iterable[Window]
) -> Iterator[tuple[Window, NDArray[np.float32] | None]]:
    """As `network_path_logits`; the windows alone, with None, where there is no network."""
    return ((window, None) for window in windows) if model is None else network_path_logits(model, data, windows)


def network_path_logits(
    model: LanguageModel, data: NDArray[np.uint8], windows: Iterable[Window]
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """For each of the windows into `data`, in order: the window and [predicted bytes, 8] logits of their bits.

    Raises ModelStateError when the network gives NaN.
    """
    rest = iter(windows)
    for window in islice(rest, 1):  # alone: it predicts all its bytes, the later ones those after the overlap
        yield window, _logits(model, data, [window])[0]
    for window in rest:
        size = (window.end - window.start) * model.config.max_seq_len // model.config.max_bytes
        batch = [window, *islice(rest, min(WINDOWS_PER_BATCH, max(1, POSITIONS_PER_BATCH // size)) - 1)]
        yield from zip(batch, _logits(model, data, batch), strict=True)


def checked(logits: Tensor) -> NDArray[np.float32]:
    """The logits as an array. Raises ModelStateError when there is a NaN."""
    array: NDArray[np.float32] = logits.cpu().numpy()
    if np.isnan(array).any():
        raise ModelStateError(
            "the network gives NaN, it has diverged: load an earlier checkpoint and train it with a smaller rate"
        )
    return array


@torch.no_grad()
def _logits(model: LanguageModel, data: NDArray[np.uint8], batch: list[Window]) -> list[NDArray[np.float32]]:
    size = max(window.end - window.start for window in batch)
    start_bytes = min(window.predicted - window.start for window in batch)
    rows = np.zeros((len(batch), size), np.int64)
    for row, window in zip(rows, batch, strict=True):
        row[: window.end - window.start] = data[window.start : window.end]
    logits = checked(model.path_logits(torch.from_numpy(rows), start_bytes=start_bytes))
    return [
        part[window.predicted - window.start - start_bytes : window.end - window.start - start_bytes]
        for part, window in zip(logits, batch, strict=True)
    ]


@torch.no_grad()
def carried_path_logits(
    model: LanguageModel, data: NDArray[np.uint8], size: int, locality: Locality
) -> Iterator[tuple[Window, NDArray[np.float32]]]:
    """As `network_path_logits`, segment by segment of `size` bytes, with keys and values carried instead of overlaps.

    What a byte is predicted from does not depend on `size`, but on the locality (see `LanguageModel.carrying`).
    """
    carried = model.open_carried(locality)
    for start in range(0, len(data), size):
        segment = torch.from_numpy(data[start : start + size].astype(np.int64))[None]
        logits = checked(model.path_logits(segment, carried=carried))[0]
        carried.commit(model, segment)
        yield Window(start, start, start + len(logits)), logits
