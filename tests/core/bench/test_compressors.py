"""The peers: those of the library always, programs where they are installed and do not fail."""

from __future__ import annotations

import bz2
import gzip
import shutil

import pytest

from bitlm_core.bench import compressors
from bitlm_core.bench.compressors import compressed_sizes, record_sizes
from tests.core.compression.samples import LINES, RECORDS, array


def test_sizes_of_the_library() -> None:
    sizes = compressed_sizes(LINES)
    assert sizes["gzip"] == len(gzip.compress(LINES, 9)) and sizes["bzip2"] == len(bz2.compress(LINES, 9))
    assert 0 < sizes["xz"] < len(LINES)
    programs = {"zstd": "zstd", "brotli": "brotli", "ppmd": "7z", "zpaq": "zpaq", "lpaq1": "lpaq1"}
    assert set(sizes) - {"gzip", "bzip2", "xz"} == {name for name, program in programs.items() if shutil.which(program)}


def test_a_program_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for command in (("false",), ("no-such-program",), ("sleep", "9")):
        monkeypatch.setattr(compressors, "TIMEOUT_S", 0.1)
        monkeypatch.setattr(compressors, "_THROUGH_PIPES", {"other": command})
        monkeypatch.setattr(compressors, "_TO_ARCHIVES", {"another": command})
        assert compressed_sizes(LINES).keys() == {"gzip", "bzip2", "xz"}
    monkeypatch.setattr(compressors, "_TO_ARCHIVES", {"copy": ("cp", "{in}", "{out}")})
    assert compressed_sizes(LINES)["copy"] == len(LINES)


def test_records_alone_with_and_without_a_dictionary() -> None:
    train, test = ([array(record) for record in part] for part in (RECORDS[:100], RECORDS[100:]))
    sizes = record_sizes(train, test)
    assert sizes["gzip"] == sum(len(gzip.compress(record, 9)) for record in RECORDS[100:])
    if shutil.which("zstd"):
        assert sizes["zstd-dictionary"] < sizes["zstd"]
