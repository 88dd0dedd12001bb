"""Files of labelled records: by hand, and every way in which one can be wrong."""

from __future__ import annotations

import pytest

from bitlm_core.bench.labelled import LabelledForm, read_labelled
from bitlm_core.errors import CodecError


def read(content: bytes, form: LabelledForm) -> list[tuple[bytes, bool]]:
    found = read_labelled(content, form)
    return list(zip(found.records, found.odd.tolist(), strict=True))


def test_each_form_by_hand() -> None:
    assert read(b"- one two\n\n0 x\nALERT \xff\n", "lines") == [(b"one two\n", False), (b"x\n", False), (b"\xff\n", True)]
    assert read(b"0\t00ff\n1\t\n-\tAa", "tsv-hex") == [(b"\x00\xff", False), (b"", True), (b"\xaa", False)]
    content = b'id,payload,label\n1,"a ""b"",\r\nc",norm\n2,\xff,anom\n3,d,-\n'
    assert read(content, "csv") == [(b'a "b",\r\nc\n', False), (b"\xff\n", True), (b"d\n", False)]
    assert read(b"label,text\n0,a\nnormal,b\nx,c\n", "csv") == [(b"a\n", False), (b"b\n", False), (b"c\n", True)]


def test_normal_are_those_without_a_label() -> None:
    assert read_labelled(b"- a\nX b\n0 c\nnorm d\n", "lines").normal == (b"a\n", b"c\n")


WRONG: list[tuple[LabelledForm, bytes, int, str]] = [
    ("lines", b"", 1, "no record in the 0 bytes"),
    ("lines", b"\n\n", 1, "no record"),
    ("lines", b"- a\nalone\n", 2, "before a space"),
    ("lines", b" a\n", 1, "no label"),
    ("tsv-hex", b"0\t00\n0 00\n", 2, "before a tab"),
    ("tsv-hex", b"0\t0g\n", 1, "hexadecimal"),
    ("tsv-hex", b"0\t\xff\n", 1, "hexadecimal"),
    ("tsv-hex", b"0\t123\n", 1, "hexadecimal"),
    ("csv", b"a,b\n1,2\n", 1, "column named label"),
    ("csv", b"label\n1\n", 1, "another for the records"),
    ("csv", b"a,label\n1,0\n1\n", 3, "has 1 columns, the header 2"),
    ("csv", b'a,label\n"1,0\n', 2, "is no CSV"),
    ("csv", b"a,label\n", 1, "no record"),
]


@pytest.mark.parametrize(("form", "content", "line", "text"), WRONG)
def test_other_files_are_named_by_line(form: LabelledForm, content: bytes, line: int, text: str) -> None:
    with pytest.raises(CodecError, match=text) as caught:
        read_labelled(content, form)
    assert caught.value.offset == line
