"""What Compress and Decompress do: a container or what was in one, written to a file."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import numpy as np

import bitlm_core
from bitlm_core import require_memory
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines

if TYPE_CHECKING:
    from bitlm_core import ModelCodec

MAX_BYTES = 1 << 28
"""Of content; it is in memory, beside everything else."""
_MAX_TABLES_MIB = 1024


def compress_steps(engines: Engines, command: commands.Compress) -> Generator[float, None, answers.CompressOutcome]:
    """Compress, yielding the share done."""
    data = np.asarray(command.data.open().array)
    codec = _codec(engines, command)
    # A mixer of its own for each; the content and what it is coded to.
    tables_mib = codec.lane_mib if codec else bitlm_core.config_for(len(data), None).memory_mib
    require_memory(2 * len(data) + (tables_mib << 20), "compressing the data")
    if codec is None:
        container = yield from bitlm_core.compress_steps(data)
    elif command.records is None:
        container = yield from codec.compress_steps(data)
    else:
        container = yield from codec.compress_records_steps(data, command.records)
    command.output.write_bytes(container)
    return answers.CompressOutcome(
        mode=bitlm_core.container_info(container).mode,
        num_bytes=len(data),
        compressed_bytes=len(container),
        bits_per_byte=8 * len(container) / len(data),
        first=container if len(container) <= command.first_bytes else b"",
    )


def decompress_steps(engines: Engines, command: commands.Decompress) -> Generator[float, None, answers.DecompressOutcome]:
    """Decompress, yielding the share done."""
    container = command.data.open().array.tobytes()
    info = bitlm_core.container_info(container)
    limits = bitlm_core.DecoderLimits(num_bytes=MAX_BYTES, memory_mib=_MAX_TABLES_MIB)
    codec = _codec(engines, command) if info.needs_model else None
    require_memory(len(container) + 2 * min(info.num_bytes, MAX_BYTES), "decompressing the data")
    if command.record is None:
        data = (yield from bitlm_core.decompress_steps(container, codec, limits=limits)).tobytes()
    else:
        data = yield from bitlm_core.decompress_record_steps(container, codec, command.record, limits=limits)
    command.output.write_bytes(data)
    return answers.DecompressOutcome(num_bytes=len(data), first=data[: command.first_bytes])


def _codec(engines: Engines, command: commands.Compress | commands.Decompress) -> ModelCodec | None:
    if command.model is None:
        return None
    engine = engines.get(command.model, command.trace).engine
    return bitlm_core.ModelCodec(engine.model, engine.mixer)
