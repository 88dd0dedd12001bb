"""Containers back to what went in: all of it, or one record. What is given out has been checked."""

from __future__ import annotations

import zlib
from collections.abc import Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from bitlm_core.codec.records import record_spans
from bitlm_core.compression.container import DecoderLimits, Header, TrainedModel, crc_of, damaged, parse
from bitlm_core.compression.lanes import Run, decode_lanes
from bitlm_core.compression.record_index import check_record, read_index
from bitlm_core.compression.self_contained import streams_for
from bitlm_core.errors import ConfigError, ContainerError
from bitlm_core.steps import finished

if TYPE_CHECKING:  # brings torch, which only models need
    from bitlm_core.compression.model_codec import ModelCodec

_RECORDS_PER_STEP = 64


@dataclass(frozen=True)
class ContainerInfo:
    """What a container says of itself; `mode`: stored, self-contained, model or records. Nothing of it is decoded yet."""

    mode: str
    num_bytes: int
    records: str
    lanes: int
    needs_model: bool


def container_info(container: bytes | memoryview) -> ContainerInfo:
    """Read the header. Raises ContainerError for what is no container, or damaged there."""
    header, _ = parse(memoryview(container))
    by_model = isinstance(header.predictor, TrainedModel)
    return ContainerInfo(header.kind, header.num_bytes, header.records, header.lanes, by_model)


def decompress_steps(
    container: bytes | memoryview, codec: ModelCodec | None = None, *, limits: DecoderLimits | None = None, run: Run = map
) -> Generator[float, None, NDArray[np.uint8]]:
    """What went in, yielding the share done. codec: of the model it was compressed with, where there was one.

    Raises ContainerError for what is damaged or was made with something else, ResourceLimitError for what is more than
    `limits` allow, and ConfigError where a model is needed and none was given.
    """
    header, sections = parse(memoryview(container))
    limits = limits or DecoderLimits()
    limits.check(header)
    if isinstance(header.predictor, TrainedModel):
        own = _checked(codec, header.predictor)
        limits.check(header, own.lane_mib)
        if header.kind == "records":
            data = yield from _all_records(header, sections, own)
        else:
            data = yield from decode_lanes(sections, header.num_bytes, own.streams(header.lanes), run)
    elif header.predictor is not None:
        data = yield from decode_lanes(sections, header.num_bytes, streams_for(header, header.predictor), run)
    else:
        data = np.frombuffer(sections[0], np.uint8)
    if crc_of(data) != header.crc:
        by_network = isinstance(header.predictor, TrainedModel) and header.predictor.probe
        perhaps = ", or this machine computes the network otherwise" if by_network else ""
        raise damaged(f"what it decodes to is not what was compressed{perhaps}")
    return data


def decompress_record(
    container: bytes | memoryview, codec: ModelCodec | None, record: int, *, limits: DecoderLimits | None = None
) -> bytes:
    """As `decompress_record_steps`, at once."""
    return finished(decompress_record_steps(container, codec, record, limits=limits))


def decompress_record_steps(
    container: bytes | memoryview, codec: ModelCodec | None, record: int, *, limits: DecoderLimits | None = None
) -> Generator[float, None, bytes]:
    """One record, counted from 0, without decoding the others. Raises as `decompress_steps`, and ConfigError where the
    container has no such record, or none at all.
    """
    header, sections = parse(memoryview(container))
    (limits or DecoderLimits()).check(header)
    if header.kind == "stored":
        return _stored_record(header, sections[0], record)
    if header.kind != "records" or not isinstance(header.predictor, TrainedModel):
        raise ConfigError(
            f"this container ({header.kind}) was not made record by record: decompress all of it, or compress with a model "
            "and records"
        )
    own = _checked(codec, header.predictor)
    index = read_index(sections[0], header.num_bytes, len(sections[1]))
    begin, end = index.place(record)
    index.check_blocks(sections[1], begin, end)
    lead = int(index.leads[record])
    data = yield from own.decode_record_steps(sections[1][begin:end], lead + int(index.lengths[record]))
    if data is None:
        raise _undecodable(record)
    return data[lead:].tobytes()


def _checked(codec: ModelCodec | None, coded_by: TrainedModel) -> ModelCodec:
    if codec is None:
        raise ConfigError(f"the data was compressed with a model (digest {coded_by.digest.hex()}): give the checkpoint of it")
    codec.check(coded_by)
    return codec


def _all_records(header: Header, sections: list[memoryview], codec: ModelCodec) -> Generator[float, None, NDArray[np.uint8]]:
    index = read_index(sections[0], header.num_bytes, len(sections[1]))
    index.check_blocks(sections[1], 0, len(sections[1]))
    data, start, at = np.zeros(header.num_bytes, np.uint8), 0, 0
    wholes = (index.leads + index.lengths).tolist()
    for record, (size, coded) in enumerate(zip(wholes, index.coded.tolist(), strict=True)):
        part = yield from codec.decode_record_steps(sections[1][at : at + coded], size)
        if part is None:
            raise _undecodable(record)
        data[start : start + size] = part
        start, at = start + size, at + coded
        if record % _RECORDS_PER_STEP == 0:
            yield start / max(1, len(data))
    return data


def _stored_record(header: Header, content: memoryview, record: int) -> bytes:
    """Of data that did not get smaller: its records are where they were."""
    if zlib.crc32(content) != header.crc:
        raise damaged("its content is not what was stored")
    spans = record_spans(np.frombuffer(content, np.uint8), header.records)
    check_record(record, len(spans))
    begin, end = spans[record].tolist()
    return bytes(content[begin:end])


def _undecodable(record: int) -> ContainerError:
    return ContainerError(
        f"record {record:,} does not decode to what was compressed: this machine computes the network otherwise. Use the one "
        "that compressed it",
        reason="machine",
    )
