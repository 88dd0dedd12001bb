"""An excerpt of data, byte by byte: what each of its bytes costs, and where a byte-latent network cuts it.

    context … │ offset ─────── num_bytes ───────→ │ …
    ←─ read, not told ─→

Everything is frozen, as in a score that does not adapt. The bytes before the excerpt are its context as they are in a score
of the whole: the network's windows stand where they stand there, so that whoever looks closer sees the same numbers. A
frozen mixer looks back to a few bytes, the last word and the row above; where that is farther than `CONTEXT_BYTES`, as in rows
of some kilobytes, its part may differ a little. Patches are cut from where the reading begins.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.expert import window_bytes
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import window_start
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.patch_inspection import model_patch_starts
from bitlm_core.scoring.score import record_score_steps
from bitlm_core.scoring.surprise import Surprise

CONTEXT_BYTES = 1024
"""Read before an excerpt at least, where its document has so many; and half a window, where that is more."""


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

    Nothing is predicted across the edges of documents. Raises ConfigError where the data has no byte at `offset`, and as
    `record_score_steps`.
    """
    end = min(offset + num_bytes, len(data))
    if not 0 <= offset < end:
        raise ConfigError(
            f"offset={offset:,} and num_bytes={num_bytes:,} leave nothing of the data's {len(data):,} bytes: begin earlier",
            offset=offset,
            num_bytes=len(data),
        )
    spans = documents[(documents[:, 1] > offset) & (documents[:, 0] < end)].copy()
    spans[0, 0] += window_start(max(0, offset - CONTEXT_BYTES - int(spans[0, 0])), window_bytes(model))
    spans[-1, 1] = end
    begin = int(spans[0, 0])
    read, spans = data[begin:end], spans - begin
    score = yield from record_score_steps(model, mixer, read, spans, adaptive=False)
    starts = model_patch_starts(model, read, spans[:, 0])
    own = slice(offset - begin, None)
    return Excerpt(offset, score.surprise[own], None if starts is None else starts[own])
