"""Records with labels, from files of three forms.

    lines     LABEL SPACE rest     the rest of the line, its newline with it, is the record
    tsv-hex   LABEL TAB hex        the bytes that the digits stand for are the record
    csv       a header with a column `label`; the column `payload`, or without one the first column, with a newline, is the
              record

The labels `-` and `0` are normal, in csv also `norm` and `normal`; any other is odd.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import CodecError

LabelledForm = Literal["lines", "tsv-hex", "csv"]
"""How a file holds records and their labels, see above."""

_NORMAL = frozenset({"-", "0"})
_NORMAL_IN_CSV = _NORMAL | {"norm", "normal"}
_ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}  # any bytes come back as they were


@dataclass(frozen=True)
class Labelled:
    """records [R], in their order; odd [R] by their labels."""

    records: tuple[bytes, ...]
    odd: NDArray[np.bool_]

    @property
    def normal(self) -> tuple[bytes, ...]:
        """The normal ones alone."""
        return tuple(record for record, odd in zip(self.records, self.odd, strict=True) if not odd)


def read_labelled(content: bytes, form: LabelledForm) -> Labelled:
    """The records of a file. Raises CodecError (`offset` in lines, from 1) for one that is not of this form."""
    rows = list((_csv_rows if form == "csv" else _line_rows)(content, form))
    if not rows:
        raise CodecError(f"there is no record in the {len(content):,} bytes: give a file of the form {form}", offset=1)
    return Labelled(tuple(record for record, _ in rows), np.array([odd for _, odd in rows]))


def _line_rows(content: bytes, form: str) -> Iterator[tuple[bytes, bool]]:
    between = b"\t" if form == "tsv-hex" else b" "
    for number, line in enumerate(content.split(b"\n"), 1):
        if not line:
            continue
        label, found, rest = line.partition(between)
        if not found or not label:
            raise _misfit(number, f"has no label before a {'tab' if form == 'tsv-hex' else 'space'}", form)
        try:
            record = bytes.fromhex(rest.decode("ascii")) if form == "tsv-hex" else rest + b"\n"
        except ValueError:
            raise _misfit(number, "holds something else than hexadecimal digits", form) from None
        yield record, label.decode(**_ENCODING) not in _NORMAL


def _csv_rows(content: bytes, form: str) -> Iterator[tuple[bytes, bool]]:
    reader = csv.reader(io.StringIO(content.decode(**_ENCODING), newline=""), strict=True)
    try:
        header = next(reader, [])
        if "label" not in header or len(header) < 2:
            raise _misfit(1, "is no header with a column named label and another for the records", form)
        label = header.index("label")
        payload = header.index("payload") if "payload" in header else int(label == 0)
        for row in reader:
            if len(row) != len(header):
                raise _misfit(reader.line_num, f"has {len(row)} columns, the header {len(header)}", form)
            yield row[payload].encode(**_ENCODING) + b"\n", row[label] not in _NORMAL_IN_CSV
    except csv.Error as error:
        raise _misfit(reader.line_num, f"is no CSV ({error})", form) from error


def _misfit(line: int, what: str, form: str) -> CodecError:
    return CodecError(f"line {line:,} {what}: it is not of the form {form}, correct it or name another form", offset=line)
