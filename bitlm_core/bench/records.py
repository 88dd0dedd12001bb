"""What a context mixer that has learned records makes of others: each coded alone in whole bytes, decoded, and compared.

Seconds are of process CPU time, of coding alone. Kernels are compiled before any clock runs.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bitlm_core.bench.coding import WrongOutputError
from bitlm_core.bench.report import Report
from bitlm_core.codec.records import record_spans
from bitlm_core.compression.model_codec import ModelCodec
from bitlm_core.errors import CodecError, ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import profile_of

Format = Literal["lines", "pcap", "tsv-hex"]
SEED = 0
"""Of the order in which records are learned."""


@dataclass(frozen=True)
class RecordsReport(Report):
    """Records coded alone, in whole bytes. `bpb` is of their bytes, `bytes_per_second` per CPU second of coding."""

    bpb: float
    bytes_per_second: float
    decoded_bytes_per_second: float
    train_records: int
    test_records: int
    test_bytes: int
    memory_mib: int


def read_records(path: Path, form: Format) -> list[NDArray[np.uint8]]:
    """The records of a file: lines without their ends, packets, or bytes in hexadecimal behind a label and a tab.

    Raises CodecError for what is not of that form, ConfigError where there are none.
    """
    data = np.fromfile(path, np.uint8)
    if form == "pcap":
        found = [data[begin:end] for begin, end in record_spans(data, "pcap").tolist()]
    else:
        lines = [line for line in data.tobytes().split(b"\n") if line]
        parts = lines if form == "lines" else [_from_hex(line, number, path) for number, line in enumerate(lines, 1)]
        found = [np.frombuffer(part, np.uint8) for part in parts]
    if not any(len(record) for record in found):
        raise ConfigError(f"{path} has no records ({form}): give a file with some")
    return found


def records_report(
    train: Sequence[NDArray[np.uint8]], test: Sequence[NDArray[np.uint8]], config: MixingConfig
) -> Generator[float, None, RecordsReport]:
    """Learn the first in shuffled order, each a document; code each of the others alone, and decode it.

    Yields the share done. Raises WrongOutputError.
    """
    mixer = ContextMixer(config, profile_of(np.concatenate(train), rows=False))
    order = list(range(len(train)))
    random.Random(SEED).shuffle(order)  # noqa: S311 - an order that everyone gets alike
    for done, i in enumerate(order):
        mixer.start_document()
        mixer.read(train[i])
        if done % 64 == 0:
            yield 0.5 * done / len(order)
    codec = ModelCodec(None, mixer)
    codec.decode_record(memoryview(codec.encode_record(test[0])), len(test[0]))
    started = time.process_time()
    codes = [codec.encode_record(record) for record in test]
    coded = time.process_time()
    yield 0.75
    decoding = time.process_time()
    found = [codec.decode_record(memoryview(code), len(record)) for code, record in zip(codes, test, strict=True)]
    decoded = time.process_time() - decoding
    for record, back in zip(test, found, strict=True):
        if back is None or not np.array_equal(back, record):
            raise WrongOutputError("a record was decoded to something else")
    num_bytes = sum(map(len, test))
    return RecordsReport(
        bpb=8 * sum(map(len, codes)) / num_bytes,
        bytes_per_second=num_bytes / (coded - started),
        decoded_bytes_per_second=num_bytes / decoded,
        train_records=len(train),
        test_records=len(test),
        test_bytes=num_bytes,
        memory_mib=config.memory_mib,
    )


def _from_hex(line: bytes, number: int, path: Path) -> bytes:
    label, tab, digits = line.partition(b"\t")
    with suppress(ValueError):
        if tab:
            return bytes.fromhex(digits.decode("ascii"))
    raise CodecError(f"line {number} of {path} is no label, tab and hexadecimal digits ({label[:20]!r}…)", line=number)
