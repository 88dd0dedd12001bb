"""What Compress and Decompress do, coded data or what was in it written to a file; and how answers get their bytes coded."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import bitlm_core
from bitlm_core import require_memory
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines
from bitlm_mcp.compute.messages import CodedOutput

if TYPE_CHECKING:
    from bitlm_core import Engine, ModelCodec

MAX_BYTES = 1 << 28
"""Of content; it is in memory, beside everything else."""
_MAX_TABLES_MIB = 1024


def compress_steps(engines: Engines, command: commands.Compress) -> Generator[float, None, answers.CompressOutcome]:
    """Compress, yielding the share done."""
    data = np.asarray(command.data.open().array)
    model = _model(engines, command)
    # A mixer of its own for each; the content and what it is coded to.
    tables_mib = model.lane_mib if model else bitlm_core.config_for(len(data), None).memory_mib
    require_memory(2 * len(data) + (tables_mib << 20), "compressing the data")
    made, seconds = yield from bitlm_core.timed(_coding(command, data, model))
    command.output.write_bytes(made)
    return answers.CompressOutcome(
        mode=bitlm_core.container_info(made).mode if command.codec == "model" else command.codec,
        num_bytes=len(data),
        compressed_bytes=len(made),
        bits_per_byte=8 * len(made) / len(data),
        ratio=len(made) / len(data),
        seconds=seconds,
        first=made if len(made) <= command.first_bytes else b"",
    )


def decompress_steps(engines: Engines, command: commands.Decompress) -> Generator[float, None, answers.DecompressOutcome]:
    """Decompress, yielding the share done."""
    coded = command.data.open().array.tobytes()
    steps = _decoding(engines, command, coded) if command.codec == "model" else _general_decoding(command, coded)
    data, seconds = yield from bitlm_core.timed(steps)
    command.output.write_bytes(data)
    ratio = len(coded) / len(data) if data and command.record is None else None
    return answers.DecompressOutcome(num_bytes=len(data), ratio=ratio, seconds=seconds, first=data[: command.first_bytes])


def coded_steps(
    engine: Engine, command: commands.Infer | commands.InferLong | commands.DiffusionSample, steps: Generator[float, None, Any]
) -> Generator[float, None, Any]:
    """What the steps return, and where that was asked for its bytes coded, or a warning why they are not.

    All else in it, telemetry too, is of the bytes themselves. The codec `model` is the model as it is now.
    """
    outcome = yield from steps
    name = command.compress_output
    data = np.frombuffer(outcome.first_bits if isinstance(outcome, answers.LongOutcome) else outcome.data, np.uint8)
    if name is None or not len(data):
        return outcome
    model = bitlm_core.ModelCodec(engine.model, engine.mixer) if name == "model" else None
    coded = yield from bitlm_core.scaled(bitlm_core.code_or_raw_steps(name, data, model), 1.0, 1.0)
    return outcome.model_copy(update={"coded": CodedOutput(**vars(coded))})


def _coding(command: commands.Compress, data: NDArray[np.uint8], model: ModelCodec | None) -> Generator[float, None, bytes]:
    if command.codec != "model":
        return bitlm_core.general_codec(command.codec).encode_steps(data)
    if model is None:
        return bitlm_core.compress_steps(data)
    return model.compress_steps(data) if command.records is None else model.compress_records_steps(data, command.records)


def _decoding(engines: Engines, command: commands.Decompress, container: bytes) -> Generator[float, None, bytes]:
    info = bitlm_core.container_info(container)
    limits = bitlm_core.DecoderLimits(num_bytes=MAX_BYTES, memory_mib=_MAX_TABLES_MIB)
    model = _model(engines, command) if info.needs_model else None
    require_memory(len(container) + 2 * min(info.num_bytes, MAX_BYTES), "decompressing the data")
    if command.record is not None:
        return (yield from bitlm_core.decompress_record_steps(container, model, command.record, limits=limits))
    return (yield from bitlm_core.decompress_steps(container, model, limits=limits)).tobytes()


def _general_decoding(command: commands.Decompress, coded: bytes) -> Generator[float, None, bytes]:
    # These formats need not tell how much is in them: what may come out is what there is memory for, twice.
    limit = min(MAX_BYTES, bitlm_core.free_memory_bytes() // 4)
    return bitlm_core.general_codec(command.codec).decode_steps(coded, limit)


def _model(engines: Engines, command: commands.Compress | commands.Decompress) -> ModelCodec | None:
    if command.model is None:
        return None
    engine = engines.get(command.model, command.trace).engine
    return bitlm_core.ModelCodec(engine.model, engine.mixer)
