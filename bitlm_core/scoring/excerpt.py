"""An excerpt of data, byte by byte: what each of its bytes costs, and where a byte-latent network cuts it.

    context … │ offset ─────── num_bytes ───────→ │ …
    ←─ read, not told ─→

Everything is frozen, as in a score that does not adapt, and the bytes before the excerpt are its context as they are in a
score of the whole: the network's windows stand where they stand there, and a mixer is taken past all that its document has
before. So whoever looks closer sees the same numbers. Patches are cut from where the reading begins.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import expert_path_logits, window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import document_windows, window_start
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.patch_inspection import model_patch_starts
from bitlm_core.scoring.surprise import Surprise, byte_surprise

CONTEXT_BYTES = 1024
"""Read before an excerpt at least, where its document has so many, so that patches stand where they do in the whole."""
_PASSED = 1 << 20
"""Bytes between two safe points."""


@dataclass(frozen=True)
class Excerpt:
    """Bytes [offset, offset + N) of data. surprise [N]: bits. starts [N]: True where a patch starts, None without patches."""

    offset: int
    surprise: Surprise
    starts: NDArray[np.bool_] | None

    @property
    def bits_per_byte(self) -> float:
        """The mean, of exact values."""
        return float(self.surprise.mean(dtype=np.float64))


def excerpt_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    documents: NDArray[np.int64],
    *,
    offset: int,
    num_bytes: int,
) -> Generator[float, None, Excerpt]:
    """Look at up to `num_bytes` of the data, yielding the share done. documents [R, 2]: begin and end of each, in order.

    Nothing is predicted across the edges of documents. Raises ConfigError where the data has no byte at `offset`, and
    ModelStateError where the network gives NaN.
    """
    end = min(offset + num_bytes, len(data))
    if not 0 <= offset < end:
        raise ConfigError(
            f"offset={offset:,} and num_bytes={num_bytes:,} leave nothing of the data's {len(data):,} bytes: begin earlier",
            offset=offset,
            num_bytes=len(data),
        )
    spans = documents[(documents[:, 1] > offset) & (documents[:, 0] < end)].copy()
    document = int(spans[0, 0])
    spans[0, 0] += _first_read(model, offset - document)
    spans[-1, 1] = end
    begin = int(spans[0, 0])
    read, spans = data[begin:end], spans - begin
    before = data[document:begin]
    surprise = yield from _surprise_steps(model, mixer.frozen() if mixer else None, before, read, spans)
    starts = model_patch_starts(model, read, spans[:, 0])
    own = slice(offset - begin, None)
    return Excerpt(offset, surprise[own], None if starts is None else starts[own])


def _first_read(model: LanguageModel | None, place: int) -> int:
    """Where to begin to read a document of which byte `place` is wanted."""
    first = max(0, place - CONTEXT_BYTES)
    return window_start(first, window_bytes(model)) if model else first


def _surprise_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    before: NDArray[np.uint8],
    data: NDArray[np.uint8],
    spans: NDArray[np.int64],
) -> Generator[float, None, Surprise]:
    """[N] of the data, of which spans are documents; the first one begins with what stands before."""
    surprise = np.zeros(len(data), np.float32)
    windows = document_windows(map(tuple, spans.tolist()), window_bytes(model))
    for window, logits in expert_path_logits(model, data, windows):
        if mixer and window.begins:
            mixer.start_document()
            for at in range(0, 0 if window.start else len(before), _PASSED):
                mixer.pass_over(before[at : at + _PASSED])
                yield 0.0
        part = data[window.predicted : window.end]
        says = mixer.read(part, logits, learn=False) if mixer else logits
        assert says is not None  # noqa: S101 - without a mixer there is a network
        surprise[window.predicted : window.end] = byte_surprise(says, part)
        yield window.end / len(data)
    return surprise
