"""Damage at unknown places: the most surprising bytes are examined, and each stays unless another one is better by a margin.

Of a thousand bytes one is damaged, say, into any of 255 others: then log₂ (1000 · 255) = 18 bits speak for what is there,
before anything is seen. That is the margin: the more of it, the fewer proposals, and the surer.
"""

from __future__ import annotations

import math
from collections.abc import Generator

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.interface import LanguageModel
from bitlm_core.repair.damage import Damage
from bitlm_core.repair.documents import ONE, Documents
from bitlm_core.repair.settings import MARGIN_BITS, MOST_MARGIN
from bitlm_core.scoring.score import record_score_steps


def suspected_steps(
    model: LanguageModel | None,
    mixer: ContextMixer | None,
    data: NDArray[np.uint8],
    count: int,
    *,
    adaptive: bool,
    margin_bits: float = MARGIN_BITS,
    document_starts: NDArray[np.int64] = ONE,
) -> Generator[float, None, Damage]:
    """The `count` most surprising places of all documents, yielding the share done.

    Raises ConfigError for no data and for numbers out of range, ModelStateError as `scoring.record_score_steps`.
    """
    if count < 1 or not 0 <= margin_bits <= MOST_MARGIN:
        raise ConfigError(
            f"surprising={count} must be at least 1, and margin_bits={margin_bits} between 0 and {MOST_MARGIN:g}: "
            "say how many places to examine"
        )
    spans = Documents(document_starts, len(data)).spans
    score = yield from record_score_steps(model, mixer, data, spans, adaptive=adaptive)
    order = np.argsort(-score.surprise, kind="stable")[:count]
    stay = np.full((256, 256), margin_bits * math.log(2))
    np.fill_diagonal(stay, 0.0)
    return Damage(data, np.sort(order), stay, certain=False, document_starts=document_starts)
