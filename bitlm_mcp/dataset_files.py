"""What a dataset is on the disk: its bytes in one file, and what is to be known of them in another."""

from __future__ import annotations

import hashlib
import os
import secrets
from itertools import pairwise
from pathlib import Path
from typing import Any, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core import ConfigError, DataStatistics, ResourceLimitError, data_statistics, record_spans
from bitlm_mcp.data_files import CHUNK, Documents

MAX_DATASET_BYTES = 16 << 30
MAX_DOCUMENTS = 100_000
"""So many are kept apart; more than that are one document, for all their beginnings would be too much to keep at hand."""
SPARE_DISK_BYTES = 256 << 20
_DIGEST = r"^[0-9a-f]{64}$"
_FILE = r"^[0-9a-f]{32}\.data$"


class About(BaseModel):
    """Which file is current and which was before, its split, and how often each byte occurs in the part to learn from.

    num_documents: of how many files the data was made. document_starts: where the second and later ones begin; none are told
    by versions before there were any, nor of more than `MAX_DOCUMENTS`. statistics: of the part to learn from; older versions
    told none.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: str = Field(pattern=_FILE)
    previous: str | None = Field(default=None, pattern=_FILE)
    num_bytes: int = Field(ge=1)
    train_bytes: int = Field(ge=0)
    sha256: str = Field(pattern=_DIGEST)
    train_sha256: str = Field(pattern=_DIGEST)
    holdout_sha256: str = Field(pattern=_DIGEST)
    train_counts: tuple[int, ...] = Field(min_length=256, max_length=256)
    source: str
    num_documents: int = Field(default=1, ge=1)
    document_starts: tuple[int, ...] = Field(default=(), max_length=MAX_DOCUMENTS)
    statistics: DataStatistics | None = None

    @model_validator(mode="after")
    def _documents_follow_each_other(self) -> Self:
        if any(start >= end for start, end in pairwise((0, *self.document_starts, self.num_bytes))):
            raise ValueError("the documents do not follow each other")
        return self

    def starts_within(self, start: int, end: int) -> tuple[int, ...]:
        """Where documents begin after the first byte of [start, end), counted from there."""
        return tuple(place - start for place in self.document_starts if start < place < end)


def store_bytes(
    documents: Documents, scratch: Path, holdout_fraction: float, source: str, free: int, records: str | None = None
) -> About:
    """Write the data into `scratch`, on the disk when this returns, and describe it.

    `records`: every record becomes a document of its own (see `bitlm_core.record_spans`), and none is cut in two to hold data
    back; of captures only what was captured is kept.
    """
    size, digest, starts = _copy(documents, scratch / "data", free)
    if size and records is not None:
        size, digest, starts = _cut(scratch / "data", size, digest, starts, records)
    if not size:
        raise ConfigError("the data is empty (0 bytes): give data with at least 1 byte")
    train = size - int(size * holdout_fraction)
    if records is not None and len(starts) > 1 and train < size:
        train = max((start for start in starts if start <= train), default=0) or starts[1]
    train_digest, counts = _part_facts(scratch / "data", 0, train)
    holdout_digest, _ = _part_facts(scratch / "data", train, size)
    return About(
        file=f"{secrets.token_hex(16)}.data",
        num_bytes=size,
        train_bytes=train,
        sha256=digest,
        train_sha256=train_digest,
        holdout_sha256=holdout_digest,
        train_counts=tuple(counts.tolist()),
        source=source,
        num_documents=len(starts),
        document_starts=tuple(starts[1:]) if len(starts) <= MAX_DOCUMENTS else (),
        statistics=data_statistics(np.memmap(scratch / "data", np.uint8, mode="r")[:train], sum(at < train for at in starts)),
    )


def told_statistics(statistics: DataStatistics | None) -> dict[str, Any] | None:
    """Statistics as JSON values by name, but for what this data has not."""
    if statistics is None:
        return None
    return {name: value for name, value in vars(statistics).items() if value is not None}


def _copy(documents: Documents, target: Path, free: int) -> tuple[int, str, list[int]]:
    """Write all documents; the size, the SHA-256, and where each that is not empty begins.

    Stops with ResourceLimitError before the disk or the limit is full.
    """
    room = max(0, free - SPARE_DISK_BYTES)
    limit, why = min((MAX_DATASET_BYTES, "a dataset may have"), (room, "the disk of the state directory has room for"))
    digest, size, starts = hashlib.sha256(), 0, []
    with target.open("wb") as file:
        for document in documents:
            start = size
            for chunk in document:
                size += len(chunk)
                if size > limit:
                    raise ResourceLimitError(
                        f"the data has more than the {limit:,} bytes that {why}: use a part of it"
                        + ("" if limit == MAX_DATASET_BYTES else ", or free some space"),
                        estimate=size,
                        limit=limit,
                    )
                digest.update(chunk)
                file.write(chunk)
            starts += [start] if size > start else []
        file.flush()
        os.fsync(file.fileno())
    return size, digest.hexdigest(), starts


def _cut(path: Path, size: int, digest: str, starts: list[int], records: str) -> tuple[int, str, list[int]]:
    """The same as `_copy` gives, of the records instead of the documents; of a capture the file is written anew."""
    data = np.memmap(path, np.uint8, mode="r")
    edges = [(0, size)] if records == "whole" else pairwise([*starts, size])
    spans = np.concatenate([begin + record_spans(data[begin:end], records) for begin, end in edges])
    spans = spans[spans[:, 0] < spans[:, 1]]
    if len(spans) > MAX_DOCUMENTS:
        raise ResourceLimitError(
            f"records={records} makes {len(spans):,} records, and {MAX_DOCUMENTS:,} at most can be kept apart: use a "
            "part of the data, or larger records",
            estimate=len(spans),
            limit=MAX_DOCUMENTS,
        )
    if records != "pcap":
        return size, digest, spans[:, 0].tolist()
    captured = ([data[begin:end].tobytes()] for begin, end in spans)
    size, digest, starts = _copy(captured, path.with_name("cut"), size + SPARE_DISK_BYTES)
    path.with_name("cut").replace(path)
    return size, digest, starts


def _part_facts(path: Path, start: int, end: int) -> tuple[str, np.ndarray[tuple[int], np.dtype[np.int64]]]:
    """SHA-256 and byte counts [256] of bytes [start, end)."""
    digest, counts = hashlib.sha256(), np.zeros(256, np.int64)
    with path.open("rb") as file:
        file.seek(start)
        while start < end and (chunk := file.read(min(CHUNK, end - start))):
            digest.update(chunk)
            counts += np.bincount(np.frombuffer(chunk, np.uint8), minlength=256)
            start += len(chunk)
    return digest.hexdigest(), counts
