"""Training along a whole stream: every byte in its turn, state carried, resumed exactly."""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bitlm_core import (
    ByteData,
    ConfigError,
    Engine,
    EngineConfig,
    ModelStateError,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    read_file,
    write_file,
)
from bitlm_core.training.segments import Segments
from tests.core.models.networks import a_model

Configs = Callable[..., EngineConfig]
TRAINING = TrainingConfig(batch_size=3, telemetry_every=100)


def numbered(size: int, starts: tuple[int, ...] = ()) -> ByteData:
    data = bytes_in_memory(bytes(index % 251 for index in range(size)))
    return ByteData(data.array, data.digest, data.counts, np.array(starts, np.int64))


@torch.no_grad()
def test_segments_tile_each_stream_and_begin_again() -> None:
    model = a_model("byte")
    segments = Segments(model, numbered(100), batch=3, length=10)
    seen: list[list[int]] = [[], [], []]
    for _ in range(segments.num_segments):
        batch = segments.next_batch()
        for row, values in zip(seen, batch.data.tolist(), strict=True):
            row += values
        model.path_logits(batch.data, carried=segments.carried)
        segments.commit(batch)
    assert segments.num_segments == 4
    assert seen == [list(range(33)), list(range(33, 66)), list(range(66, 99))]
    assert segments.next_batch().data[0].tolist() == list(range(10))
    assert segments.carried.num_bytes == 0


def test_short_data_is_one_stream() -> None:
    segments = Segments(a_model("byte"), numbered(7), batch=3, length=10)
    assert segments.next_batch().data.tolist() == [list(range(7))]
    assert segments.num_segments == 1


def test_documents_are_numbered_along_the_stream() -> None:
    segments = Segments(a_model("byte"), numbered(40, (5, 12, 30)), batch=1, length=20)
    documents = segments.next_batch().documents
    assert documents is not None
    assert documents[0].tolist() == [0] * 5 + [1] * 7 + [2] * 8


@torch.no_grad()
def test_what_is_carried_across_the_edge_of_a_document_is_not_seen(architecture: str) -> None:
    model, data = a_model(architecture), numbered(40, (26,))
    segments = Segments(model, data, batch=1, length=20)
    first = segments.next_batch()
    model.path_logits(first.data, documents=first.documents, carried=segments.carried)
    segments.commit(first)
    second = segments.next_batch()
    found = model.path_logits(second.data, documents=second.documents, carried=segments.carried)
    alone = model.path_logits(torch.from_numpy(data.array[26:40].astype(np.int64))[None])
    torch.testing.assert_close(found[:, 6:], alone, rtol=0, atol=1e-5)
    without = model.path_logits(second.data)
    assert not torch.allclose(found[:, 1:6], without[:, 1:6], atol=1e-3)  # but what is of its document, is


def test_a_full_sequence_is_learned_better_than_its_windows(config_of: Configs) -> None:
    """Runs of sixteen equal bytes in segments of four: what a segment begins with is told only by the one before."""
    values = np.random.default_rng(0).integers(0, 256, 4000).astype(np.uint8)
    data = bytes_in_memory(np.repeat(values, 16).tobytes())
    training = TrainingConfig(batch_size=64, window_bytes=4, warmup_steps=5)
    plan = TrainingPlan(steps=80)
    losses = []
    for carry in (True, False):
        engine = Engine(config_of("byte", mixing=None, training=training))
        losses.append([report.loss for report in engine.train_steps(data, plan.model_copy(update={"carry": carry}))])
    assert np.mean(losses[0][-5:]) < 0.8 * np.mean(losses[1][-5:])


def test_train_full_sequence_reads_all_of_it(config_of: Configs, training_data: ByteData) -> None:
    engine = Engine(config_of("byte", training=TRAINING, mixing=None))
    data = bytes_in_memory(training_data.array[:3000].tobytes())
    reports = list(engine.train_full_sequence(data, ctx_bits=900, passes=2))
    assert len(reports) == 2 * 10
    assert sum(report.num_bytes for report in reports) == 2 * 3000
    assert engine.config.training.window_bytes == 100
    assert reports[-1].loss < reports[0].loss


@pytest.mark.parametrize(
    "form",
    [
        {},
        {"attention": "chunked", "chunk_size": 24, "reversible": True},
        {"attention": "differential"},
        {"act_threshold": 0.05, "reversible": True},  # all halt at once: the second layer is never computed
    ],
)
def test_it_resumes_bit_for_bit(
    config_of: Configs, architecture: str, form: dict[str, Any], text: bytes, tmp_path: Path
) -> None:
    config = config_of(architecture, training=TRAINING, mixing=None)
    model = config.model.model_copy(update={"dropout": 0.1, "nhead": 2, "num_layers": 2, **form})
    config = config.model_copy(update={"model": type(model).model_validate(model.model_dump())})
    data = ByteData(*vars(bytes_in_memory(text[:2000])).values())
    plan = TrainingPlan(steps=6, carry=True)
    whole, half = Engine(config), Engine(config)
    expected = [report.loss for report in whole.train_steps(data, plan)]
    found = [report.loss for report in islice(half.train_steps(data, plan), 3)]
    write_file(tmp_path / "half", *half.state())
    resumed = Engine.from_state(*read_file(tmp_path / "half", "half"))
    assert resumed.plan is not None
    write_file(tmp_path / "again", *resumed.state())  # saved once more before it goes on
    assert (tmp_path / "again").read_bytes() == (tmp_path / "half").read_bytes()
    assert found + [report.loss for report in resumed.train_steps(data, resumed.plan)] == expected


def test_a_new_plan_begins_at_the_beginning(config_of: Configs, text: bytes) -> None:
    engine, data = Engine(config_of("byte", training=TRAINING, mixing=None)), bytes_in_memory(text[:2000])
    plan = TrainingPlan(steps=2, carry=True)
    list(engine.train_steps(data, plan))
    assert engine._segments is not None and engine._segments.carried.num_bytes == 128
    next(engine.train_steps(data, plan))
    assert engine._segments.carried.num_bytes == 64


@pytest.mark.parametrize(
    "wrong",
    [
        {"streams": 2},
        {"streams": -1},
        {"num_bytes": 10},
        {"locality": [4, 9]},
        {"locality": 3},
        {"num_bytes": "x"},
        {"num_bytes": None},
    ],
)
def test_a_carried_state_that_lies_is_refused(config_of: Configs, text: bytes, wrong: dict[str, Any]) -> None:
    engine = Engine(config_of("byte", training=TRAINING, mixing=None))
    next(engine.train_steps(bytes_in_memory(text[:2000]), TrainingPlan(steps=2, carry=True)))
    tensors, header = engine.state()
    with pytest.raises(ModelStateError):
        Engine.from_state(tensors, {**header, "carried": {**header["carried"], **wrong}})
    with pytest.raises(ModelStateError):
        Engine.from_state({**tensors, "carried.recent": tensors["carried.recent"] + 1000}, header)
    Engine.from_state(tensors, header)


def test_diffusion_and_ending_positions_cannot_carry(config_of: Configs, text: bytes) -> None:
    with pytest.raises(ValidationError, match="in order"):
        TrainingPlan(steps=1, carry=True, objective="diffusion")
    config = config_of("byte", mixing=None)
    config = config.model_copy(update={"model": config.model.model_copy(update={"position": "sinusoidal"})})
    with pytest.raises(ConfigError, match="rotary"):
        next(Engine(config).train_steps(bytes_in_memory(text[:500]), TrainingPlan(steps=1, carry=True)))
