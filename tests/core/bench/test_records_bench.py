"""The benchmark of records: forms of files, and figures of whole bytes."""

from __future__ import annotations

from pathlib import Path

import pytest

from bitlm_core.bench.records import Format, read_records, records_report
from bitlm_core.errors import CodecError, ConfigError
from bitlm_core.mixing.config import MixingConfig
from tests.conftest import run
from tests.core.compression.samples import CAPTURE, PACKETS, RECORDS, array


@pytest.mark.parametrize(
    ("form", "content", "expected"),
    [
        ("lines", b"one\n\ntwo", [b"one", b"two"]),
        ("pcap", CAPTURE, PACKETS),
        ("tsv-hex", b"-\t00ff\n1\t0a\n", [b"\x00\xff", b"\n"]),
    ],
)
def test_forms_of_records(tmp_path: Path, form: Format, content: bytes, expected: list[bytes]) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    assert [record.tobytes() for record in read_records(path, form)] == expected


def test_what_is_no_record_is_named(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for bad in (b"-\tzz\n", b"00ff\n", b"-\t\xff\n"):
        path.write_bytes(b"-\t00\n" + bad)
        with pytest.raises(CodecError, match="line 2"):
            read_records(path, "tsv-hex")
    path.write_bytes(b"\n\n")
    with pytest.raises(ConfigError, match="no records"):
        read_records(path, "lines")


def test_figures_are_of_whole_bytes() -> None:
    train, test = ([array(record[:-1]) for record in part] for part in (RECORDS[:90], RECORDS[90:]))
    report = run(records_report(train, test, MixingConfig(memory_mib=8)))
    total = sum(map(len, test))
    assert report.bpb * total == pytest.approx(8 * round(report.bpb * total / 8))
    assert 0 < report.bpb < 3 and report.bytes_per_second > 0 and report.decoded_bytes_per_second > 0
    assert (report.train_records, report.test_records, report.test_bytes) == (90, 30, total)
