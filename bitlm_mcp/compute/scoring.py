"""Where the records of a call's data are, and what is told of their scores."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

import bitlm_core
from bitlm_mcp.compute.answers import OddRecord, OddSpan, ScoreOutcome

if TYPE_CHECKING:
    from bitlm_core import ByteData, Score


def record_places(data: ByteData, records: str | None) -> NDArray[np.int64]:
    """[R, 2] begin and end of each record: the documents where no form is named; else each document is cut by itself.

    Raises as `bitlm_core.record_spans`.
    """
    documents = np.array(list(data.documents()), np.int64).reshape(-1, 2)
    if records is None:
        return documents
    if records == "whole":
        return bitlm_core.record_spans(data.array, records)
    return np.concatenate([begin + bitlm_core.record_spans(data.array[begin:end], records) for begin, end in documents])


def score_outcome(score: Score, data: NDArray[np.uint8], top: int) -> ScoreOutcome:
    """What is told: records where there are several, and surprising places in any case."""
    spans = [(span, bytes(data[span.offset : span.offset + span.num_bytes])) for span in score.top_spans(top)]
    several = len(score.spans) > 1
    return ScoreOutcome(
        **vars(score.likelihood),
        perplexity=score.likelihood.perplexity,
        num_records=len(score.spans),
        num_learned=score.num_learned,
        records=tuple(OddRecord(**vars(record)) for record in score.top_records(top)) if several else (),
        spans=tuple(OddSpan(offset=s.offset, bits=s.bits, hex=part.hex(), text=shown_bytes(part)) for s, part in spans),
    )


def shown_bytes(data: bytes) -> str:
    """One character a byte: itself where ASCII can be shown, else a middle dot."""
    return "".join(chr(byte) if 32 <= byte < 127 else "·" for byte in data)
