"""Windows that travel compressed, and run-length streams that are learned: what is drawn, shown, told, and left as it was."""

from __future__ import annotations

import math
from itertools import islice, pairwise
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bitlm_core import (
    ByteData,
    CodecError,
    ConfigError,
    Engine,
    EngineConfig,
    MixingConfig,
    StepReport,
    TelemetryConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
)
from bitlm_core.codec.runlength import decompress_bits
from bitlm_core.learning import held_out_loss
from bitlm_core.training import compressed as room
from bitlm_core.training.batches import Batch, sample_windows
from bitlm_core.training.compressed import ramp, show

SIZES = {"d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 32, "ngram_rows": 64}
PATCHES = {"local_width": 32, "encoder_layers": 1, "decoder_layers": 1}


def an_engine(architecture: str = "byte", *, mixing: bool = False, dropout: float = 0.1, **training: Any) -> Engine:
    sizes: dict[str, Any] = SIZES | {"byte": {}, "bit": {"max_seq_len": 288, "ngram_rows": 0}, "patch": PATCHES}[architecture]
    settings = TrainingConfig(**{"batch_size": 6, "warmup_steps": 2, "telemetry_every": 1} | training)
    model = preset_config("tiny", architecture, dropout=dropout, **sizes)  # type: ignore[arg-type]
    return Engine(EngineConfig(model=model, training=settings, mixing=MixingConfig(memory_mib=8) if mixing else None, seed=3))


def trained(engine: Engine, data: ByteData, steps: int = 4) -> list[StepReport]:
    return list(engine.train_steps(data, TrainingPlan(steps=steps)))


def same_weights(one: Engine, other: Engine) -> bool:
    assert one.model and other.model
    return all(torch.equal(a, b) for a, b in zip(one.model.parameters(), other.model.parameters(), strict=True))


@pytest.fixture(scope="module")
def runs() -> ByteData:
    """Long runs of equal bits, of random lengths: their streams are a seventh as long as they are."""
    random = np.random.default_rng(1)
    return bytes_in_memory(b"".join(bytes([255 * (i % 2)] * int(n)) for i, n in enumerate(random.integers(3, 40, 300))))


@pytest.fixture(scope="module")
def documents(text: bytes) -> ByteData:
    data = bytes_in_memory(text[:3000])
    return ByteData(data.array, data.digest, data.counts, np.arange(50, 3000, 50))


def test_the_ramp_by_hand() -> None:
    assert [ramp(progress) for progress in (0.0, 1 / 3, 0.5, 1.0)] == pytest.approx([0, 0.25, 0.5, 1])


def test_ways_are_drawn_by_their_probabilities_and_by_seed_and_step_alone(runs: ByteData) -> None:
    batch = sample_windows(runs, batch=300, length=8, seed=0, step=0)
    config = TrainingConfig(compress_prob=0.6, direct_prob=0.2)

    def counts(progress: float, **drawn: int) -> tuple[int, int]:
        found = show(batch, config, **{"seed": 1, "step": 2} | drawn, progress=progress)
        return int(found.compressed.sum()), found.direct.windows

    assert counts(0.0)[0] == 0
    for progress, share in ((0.5, 0.3), (1.0, 0.6)):  # within 7 standard deviations: chance 1e-11, and the seed is fixed
        found = counts(progress)
        assert found[0] == pytest.approx(300 * share, abs=7 * math.sqrt(300 * share * (1 - share)))
        assert found[1] == pytest.approx(60, abs=7 * math.sqrt(300 * 0.16)) and found == counts(progress)
    assert counts(1.0) != counts(1.0, step=3) and counts(1.0) != counts(1.0, seed=2)


def test_streams_stand_end_to_end_each_a_document_of_its_own(runs: ByteData) -> None:
    batch = sample_windows(runs, batch=40, length=24, seed=0, step=0)
    found = show(batch, TrainingConfig(direct_prob=0.9), seed=0, step=0, progress=0.0)
    rows = found.direct.rows
    assert rows is not None and rows.documents is not None and rows.data.shape[1] <= 24 and len(found.data.data) > 0
    shown, numbers = (each.flatten().numpy() for each in (rows.data, rows.documents))
    decoded = [np.packbits(decompress_bits(shown[numbers == index].astype(np.uint8))) for index in range(numbers.max())]
    windows = {bytes(row) for row in batch.data.numpy().astype(np.uint8)}
    assert found.direct.windows == numbers.max() + 1 and {bytes(window) for window in decoded} <= windows
    length = found.direct.ratio * 24 * found.direct.windows if found.direct.ratio else 0
    assert 0 <= round(length) - rows.num_bytes < len(rows.data)  # all of them, but for less than a byte per row
    assert (
        found.direct.windows + len(found.data.data) == 40
        and {bytes(row) for row in found.data.data.numpy().astype(np.uint8)} <= windows
    )


@pytest.mark.parametrize("architecture", ["byte", "bit", "patch"])
def test_what_travels_compressed_is_learned_bit_for_bit_as_what_does_not(architecture: str, documents: ByteData) -> None:
    settings = {"accumulation": 2, "telemetry_every": 4}
    raw, travelled = an_engine(architecture, **settings), an_engine(architecture, **settings, compress_prob=1.0)
    expected, found = trained(raw, documents), trained(travelled, documents)
    assert same_weights(raw, travelled)
    assert [report.loss for report in found] == [report.loss for report in expected]
    assert found[-1].telemetry == expected[-1].telemetry is not None
    assert expected[-1].feed is None and all(report.feed for report in found)
    counts = [
        (report.feed.raw.windows, report.feed.compressed.windows, report.feed.direct.windows) for report in found if report.feed
    ]
    assert counts[0] == (6, 0, 0) and all(sum(each) == 6 for each in counts) and counts[-1][1] > counts[1][1] >= 0


@pytest.mark.parametrize("architecture", ["byte", "bit", "patch"])
def test_streams_are_learned(architecture: str, runs: ByteData) -> None:
    engine = an_engine(architecture, direct_prob=1.0, dropout=0.0)
    reports = trained(engine, runs, 10)
    feeds = [report.feed for report in reports]
    losses = [feed.direct.loss for feed in feeds if feed and feed.direct.loss is not None]
    assert losses[0] == pytest.approx(8 * math.log(2), abs=0.01) and losses[-1] < losses[0] - 0.4
    assert losses == pytest.approx([report.loss for report in reports], rel=1e-5)
    last = feeds[-1]
    assert last and last.direct.ratio is not None and last.direct.ratio < 0.4 and (last.direct.accuracy or 0) > 0.7
    assert (last.raw.windows, last.compressed.windows, last.direct.windows) == (0, 0, 6)
    assert all(report.telemetry is None and report.num_bytes == 6 * 32 for report in reports)


def test_ways_are_accounted_apart_and_add_up(documents: ByteData) -> None:
    reports = trained(an_engine(compress_prob=0.4, direct_prob=0.4, batch_size=12), documents, 6)
    for report in reports:
        assert report.feed is not None
        ways = (report.feed.raw, report.feed.compressed, report.feed.direct)
        shown = [way for way in ways if way.loss is not None]
        assert sum(way.windows for way in ways) == 12 and report.feed.fallbacks == 0 and report.feed.warning is None
        whole = sum(way.num_bytes * (way.loss or 0) for way in shown) / sum(way.num_bytes for way in shown)
        assert report.loss == pytest.approx(whole, rel=1e-5)
        assert all(0 < (way.accuracy or 0) < 1 and (way.windows > 0) == (way.loss is not None) for way in shown)
        assert (report.telemetry is None) == (report.feed.raw.windows + report.feed.compressed.windows == 0)
    last = reports[-1].feed
    assert last and last.raw.ratio == 1.0 and last.compressed.ratio == last.direct.ratio == 1 + 3 / 32  # text has no long runs


@pytest.mark.parametrize("architecture", ["byte", "patch"])
def test_the_shortest_windows_and_a_composite_loss(architecture: str, runs: ByteData) -> None:
    engine = an_engine(architecture, direct_prob=1.0, window_bytes=2, accumulation=2)
    engine.set_telemetry(TelemetryConfig(composite_loss=1.0))
    for report in trained(engine, runs, 2):
        assert report.feed is not None and report.feed.direct.windows == 6 and math.isfinite(report.loss)
        assert report.feed.direct.ratio is not None and 1 < report.feed.direct.ratio <= 2  # with three bytes of header at most
        assert report.loss == pytest.approx(report.feed.direct.loss, rel=1e-5)


def test_a_resumed_training_is_shown_the_same(documents: ByteData) -> None:
    ways = {"compress_prob": 0.5, "direct_prob": 0.3}
    whole, half = an_engine(**ways), an_engine(**ways)
    expected = [report.feed for report in trained(whole, documents, 5)]
    found = [report.feed for report in islice(half.train_steps(documents, TrainingPlan(steps=5)), 2)]
    resumed = Engine.from_state(*half.state())
    assert resumed.plan is not None
    found += [report.feed for report in resumed.train_steps(documents, resumed.plan)]
    assert found == expected and same_weights(resumed, whole)
    tensors, header = whole.state()
    for name in ways:
        del header["config"]["training"][name]  # as of a state from before there were any
    assert not Engine.from_state(tensors, header).config.training.feeds


def _refuses(_: object) -> np.ndarray[Any, Any]:
    raise CodecError("it is out of order")


def _decodes_to_something_else(stream: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    return 1 - decompress_bits(stream)


@pytest.mark.parametrize(("broken", "said"), [(_refuses, "out of order"), (_decodes_to_something_else, "something else")])
def test_where_the_codec_fails_windows_are_learned_raw_and_that_is_told(
    documents: ByteData, monkeypatch: pytest.MonkeyPatch, broken: Any, said: str
) -> None:
    raw, fallen_back = an_engine(), an_engine(compress_prob=0.5, direct_prob=0.5)
    trained(raw, documents)
    monkeypatch.setattr(room, "decompress_bits", broken)
    last = trained(fallen_back, documents)[-1].feed
    assert same_weights(raw, fallen_back) and last is not None and (last.raw.windows, last.direct.windows) == (6, 0)
    assert 1 <= last.fallbacks <= 6 and last.warning is not None
    assert f"{last.fallbacks} of 6 windows" in last.warning and said in last.warning and "direct_prob=0" in last.warning


def test_the_mixer_and_held_out_data_know_nothing_of_it(documents: ByteData) -> None:
    held = documents.part(0, 400)
    raw, direct = an_engine(mixing=True), an_engine(mixing=True, direct_prob=1.0)
    plan = TrainingPlan(steps=3, validate_every=3)
    for engine in (raw, direct):
        *_, last = engine.train_steps(documents, plan, held)
        assert engine.model and last.held_out_loss == held_out_loss(engine.model, held)
    assert raw.mixer and direct.mixer and not same_weights(raw, direct)
    arrays = direct.mixer.own_arrays
    assert all(np.array_equal(value, arrays[name]) for name, value in raw.mixer.own_arrays.items())
    assert np.array_equal(raw.reference, direct.reference)


def test_a_batch_is_left_as_it_is_and_without_ways_it_is_shown_itself() -> None:
    batch = Batch(torch.zeros((4, 16), dtype=torch.int64))
    assert show(batch, TrainingConfig(), seed=0, step=0, progress=1.0).data is batch
    show(batch, TrainingConfig(direct_prob=1.0), seed=0, step=0, progress=1.0)
    assert batch.data.shape == (4, 16) and not batch.data.any()


@pytest.mark.parametrize(
    ("training", "plan", "said"),
    [
        ({"compress_prob": 0.5}, {"objective": "diffusion"}, "objective='diffusion' foretells hidden bytes"),
        ({"direct_prob": 0.5}, {"objective": "mixed"}, "train with objective='causal'"),
        ({"direct_prob": 0.5}, {"carry": True}, "without carry"),
        ({"direct_prob": 0.5, "compile": True}, {}, "compile=false"),
    ],
)
def test_what_does_not_go_together_is_refused(
    training: dict[str, Any], plan: dict[str, Any], said: str, documents: ByteData
) -> None:
    engine = an_engine()
    with pytest.raises(ConfigError, match=said):
        engine.set_training(TrainingConfig(**training))
        next(engine.train_steps(documents, TrainingPlan(steps=1, **plan)))
    assert engine.step == 0


def test_shares_of_more_than_all_are_refused() -> None:
    with pytest.raises(ValidationError, match=r"compress_prob=0\.6 and direct_prob=0\.5.*more than 1: lower one"):
        TrainingConfig(compress_prob=0.6, direct_prob=0.5)
    with pytest.raises(ConfigError, match=r"direct_prob=0\.5: only networks"):
        EngineConfig(model=preset_config(None, "mix"), training=TrainingConfig(direct_prob=0.5))
    assert all(a <= b for a, b in pairwise(ramp(step / 10) for step in range(11)))
