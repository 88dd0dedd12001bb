"""Scores of records: by both protocols, with and without a model, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import ConfigError, Engine, ModelStateError, ResourceLimitError, record_spans
from bitlm_core.scoring import score as module
from bitlm_core.scoring.score import record_score_steps, self_score_steps
from tests.conftest import run


def array(data: bytes) -> np.ndarray:  # type: ignore[type-arg]
    return np.frombuffer(data, np.uint8)


def test_a_frozen_record_costs_what_it_costs_alone(trained: Engine, text: bytes) -> None:
    data = array(text[90_000:90_700])
    spans = np.array([[0, 100], [150, 150], [200, 500], [500, 700]])
    found = run(trained.score_steps(data, spans, adaptive=False))
    for begin, end in spans:
        if begin < end:
            alone = run(trained.score_steps(data[begin:end], np.array([[0, end - begin]]), adaptive=False))
            assert found.surprise[begin:end] == pytest.approx(alone.surprise, abs=1e-3)
            assert alone.likelihood.bits_per_byte_static == pytest.approx(float(alone.surprise.mean()), rel=1e-5)
    assert not found.surprise[100:200].any()
    assert found.likelihood.num_bytes == 600
    assert found.likelihood.bits_per_byte_static == pytest.approx(float(found.surprise.sum()) / 600, rel=1e-5)


def test_a_single_record_adapts_byte_by_byte(trained: Engine, text: bytes) -> None:
    data = array(text[90_000:92_000])
    found = run(trained.score_steps(data, record_spans(data, "whole"), adaptive=True))
    assert float(found.surprise.mean()) == pytest.approx(found.likelihood.bits_per_byte, rel=1e-5)
    assert found.num_learned is None and len(found.top_records(5)) == 1


def test_an_odd_line_ranks_first_and_its_bytes_too(trained: Engine, text: bytes) -> None:
    lines = [line for line in text[90_000:92_800].splitlines(keepends=True) if len(line) > 50]
    odd = b"0x9f3a77c1 %%QZX~~{}|^`` 0xdeadbeef 0x9f3a77c1 %%QZX~~{}|^`` 0x\n"
    at = len(b"".join(lines[:20]))
    data = array(b"".join([*lines[:20], odd, *lines[20:]]))
    for adaptive in (False, True):
        found = run(trained.score_steps(data, record_spans(data, "lines"), adaptive=adaptive))
        first = found.top_records(3)[0]
        assert (first.record, first.offset, first.num_bytes, first.rank) == (20, at, len(odd), 1)
        assert first.bits_per_byte <= first.window_bits <= first.max_bits
        assert at <= found.top_spans(1)[0].offset < at + len(odd)
        assert (found.num_learned is not None) == adaptive
        ranked = [record.statistic for record in found.top_records(100)]
        assert ranked == sorted(ranked, reverse=True)


def test_streams_of_records_longer_than_a_window(trained: Engine, text: bytes) -> None:
    size = trained.config.model.max_bytes + 10
    data = array(text[80_000 : 80_000 + 36 * size])
    found = run(trained.score_steps(data, record_spans(data, f"fixed:{size}"), adaptive=True))
    assert found.num_learned and len(found.statistics) == 36
    assert float(found.surprise.mean()) < found.likelihood.bits_per_byte_static


def test_progress_rises_to_one(trained: Engine, text: bytes) -> None:
    data = array(text[:600])
    for adaptive in (False, True):
        shares = list(trained.score_steps(data, record_spans(data, "fixed:60"), adaptive=adaptive))
        assert shares == sorted(shares) and shares[-1] == 1.0


def test_without_a_model_a_file_is_learned_while_it_is_read(text: bytes) -> None:
    data = array(text[:4_000])
    for records, num in (("whole", 1), ("fixed:400", 10)):
        found = run(self_score_steps(data, record_spans(data, records)))
        assert found.likelihood.num_bytes == len(data) and len(found.statistics) == num
        assert found.surprise[-400:].mean() < 0.8 * found.surprise[:400].mean()
        assert found.likelihood.bits_per_byte == pytest.approx(float(found.surprise.mean()), rel=1e-5)


def test_what_cannot_be_scored_is_refused(trained: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    nothing, spans = np.zeros(3, np.uint8), np.array([[1, 1]])
    with pytest.raises(ConfigError, match="0 bytes"):
        run(trained.score_steps(nothing, spans, adaptive=False))
    with pytest.raises(ConfigError, match="0 bytes"):
        run(self_score_steps(nothing, spans))
    with pytest.raises(ModelStateError, match="no context mixing"):
        run(record_score_steps(trained.model, None, nothing, spans, adaptive=True))
    monkeypatch.setattr(module, "free_memory_bytes", lambda: 100)
    with pytest.raises(ResourceLimitError) as caught:
        run(trained.score_steps(nothing, np.array([[0, 3]]), adaptive=False))
    assert (caught.value.estimate, caught.value.limit) == (3, 0)
