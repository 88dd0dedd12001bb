"""A network asked about data that comes compressed: decompressed, then the same pass as for data that came raw."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from bitlm_core.codec.bits import bits_to_bytes
from bitlm_core.codec.parity import Parity
from bitlm_core.codec.runlength import StreamLike, compression_ratio, decompress_rows
from bitlm_core.errors import ConfigError, ResourceLimitError, SequenceTooLongError
from bitlm_core.models.interface import LanguageModel


class CompressedForward(NamedTuple):
    """path_logits [B, T, 8]: what `LanguageModel.path_logits` gives for data [B, T], the bytes that were in the streams.

    ratio: compressed bits / raw bits, of all streams together.
    """

    path_logits: Tensor
    data: Tensor
    ratio: float


def forward_compressed(
    model: LanguageModel | None, streams: StreamLike | Sequence[StreamLike], *, parity: Parity = "even"
) -> CompressedForward:
    """The network's predictions for bits that `compress_bits` or `compress_rows` compressed: one row for each stream.

    `parity`: as the bits were made with, nine a byte, or eight with "none". Raises RunLengthError (`offset`) for a damaged
    stream; CodecError for streams of several lengths and for bits that are not whole bytes, ParityError for groups that do not
    add up; ConfigError without a network or without a bit; SequenceTooLongError for more bytes than the window holds.
    """
    if model is None:
        raise ConfigError(
            "architecture='mix' has no network, so no forward pass: score decompressed data, or use architecture='byte'"
        )
    given = [streams] if isinstance(streams, bytes | bytearray | memoryview | np.ndarray) else list(streams)
    width = 8 if parity == "none" else 9
    try:
        bits = decompress_rows(given, max_bits=len(given) * width * model.config.max_bytes)
    except ResourceLimitError as error:
        raise SequenceTooLongError(
            f"a stream holds {error.facts['estimate']:,} bits, and the window {model.config.max_bytes:,} bytes of {width}: "
            "compress shorter pieces, or decompress it and call infer_long, which reads any length",
            length=error.facts["estimate"] // width * model.positions_per_byte,
            limit=model.config.max_bytes * model.positions_per_byte,
        ) from None
    if not bits.size:
        raise ConfigError("the streams hold no bits, so there is nothing to predict: give at least one byte in each")
    rows = [np.frombuffer(bits_to_bytes(row, parity=parity).data, np.uint8) for row in bits]
    data = torch.from_numpy(np.stack(rows).astype(np.int64))
    with torch.no_grad():
        logits = model.path_logits(data.to(model.device))
    return CompressedForward(logits, data, compression_ratio(sum(map(len, given)), bits.size))
