"""The comparison of codecs: every figure is of something that was really coded, decoded and compared."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.bench import codecs as module
from bitlm_core.bench.codecs import CodecsReport, codec_bench_steps
from bitlm_core.bench.coding import WrongOutputError
from bitlm_core.compression.codecs import RunLengths
from bitlm_core.errors import ConfigError

DATA = b"the quick brown fox, and the slow one. " * 20


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)


def test_figures_of_every_codec_and_kind_of_bits() -> None:
    *shares, report = codec_bench_steps(DATA, ("rle", "zlib"), num_bits=4096)
    assert shares == [1 / 3, 2 / 3] and isinstance(report, CodecsReport)
    found = report.flat()
    assert [codec.name for codec in report.codecs] == ["rle", "zlib", "bits_random", "bits_sparse", "bits_zeros"]
    assert all(found[f"{what}_{one.name}"] > 0 for one in report.codecs for what in ("ratio", "in_mb_s", "out_mb_s"))
    assert found["ratio_zlib"] < 0.2 < 1 < found["ratio_rle"] < 1.02 and found["num_bytes"] == len(DATA)
    assert found["ratio_bits_zeros"] < 0.1 < found["ratio_bits_sparse"] < 1 < found["ratio_bits_random"] < 1.03


def test_what_cannot_be_measured_is_refused_at_once() -> None:
    for data, names in ((b"", ("zlib",)), (DATA, ()), (DATA, ("zlib", "gzip"))):
        with pytest.raises(ConfigError):
            next(iter(codec_bench_steps(data, names)))


def test_wrong_output_is_never_a_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    def wrong(self: RunLengths, coded: bytes, max_bytes: int):  # type: ignore[no-untyped-def]
        yield 1.0
        return bytes(max_bytes)

    with monkeypatch.context() as patched:
        patched.setattr(RunLengths, "decode_steps", wrong)
        with pytest.raises(WrongOutputError):
            list(codec_bench_steps(DATA, ("rle",), num_bits=64))
    monkeypatch.setattr(module, "decompress_bits", lambda stream: np.zeros(3, np.uint8))
    with pytest.raises(WrongOutputError):
        list(codec_bench_steps(DATA, ("rle",), num_bits=64))
