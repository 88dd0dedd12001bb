"""What a mixer has to read in a step, and that it reads every byte once."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import ByteData, MixingConfig, ModelStateError, TrainingPlan, bytes_in_memory, preset_config, reading
from bitlm_core.kernels.mixing_layout import DOC
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.build import build_model
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.reading import Reader, reserved_from

SMALL = MixingConfig(memory_mib=8)


TINY = preset_config("tiny", max_seq_len=64)


def run_of(total: int, *, steps: int, batch_bytes: int = 2048) -> tuple[Reader, list[int]]:
    """What each step of a plan reads."""
    data = bytes_in_memory(np.random.default_rng(0).integers(97, 123, total, dtype=np.uint8).tobytes())
    mixer = ContextMixer(SMALL)
    reader, model, read = Reader(mixer), build_model(TINY), []
    for step in range(steps):
        before = mixer.bytes_learned
        reader.read_beside(model, data, TrainingPlan(steps=steps, steps_done=step), batch_bytes=batch_bytes)
        read.append(mixer.bytes_learned - before)
    return reader, read


@pytest.mark.parametrize("total", [2, 30, 3000, 60_000])
def test_a_long_enough_run_reads_everything_the_reserved_end_with_the_network(total: int) -> None:
    reader, read = run_of(total, steps=20)
    assert read[0] == reserved_from(total) and sum(read) == total
    assert [step for step in range(1, 20) if read[step]] == ([13] if total >= 10 else [])
    assert reader.bytes_left(bytes_in_memory(b"x" * total)) == total  # of other data


def test_of_large_data_a_step_reads_in_proportion_to_what_it_trains_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "HEAD_START_BYTES", 8 * 4000)
    monkeypatch.setattr(reading, "HEAD_BYTES", 4000)
    monkeypatch.setattr(reading, "RESERVED_AT_MOST", 3000)
    _, read = run_of(100_000, steps=12, batch_bytes=700)
    assert read[:8] == [4000] * 8 and set(read[8:9] + read[10:]) == {2 * 700} and read[9] == 3000


def test_a_short_run_leaves_the_reserved_part_to_the_next_one() -> None:
    _, read = run_of(60_000, steps=9)
    assert sum(read) == 54_000


def shown(reader: Reader, data: ByteData, step: int) -> set[int]:
    """Where the windows of a step begin."""
    batch = reader.sample(data, batch=8, length=50, seed=0, step=step)
    assert batch.data.shape == (8, 50)
    whole = data.array.tobytes()
    return {whole.index(bytes(row.tolist())) for row in batch.data}


def test_the_network_is_shown_nothing_reserved_before_it_was_read_and_more_of_it_then() -> None:
    data = bytes_in_memory(np.random.default_rng(1).bytes(5000))
    reader, model = Reader(ContextMixer(SMALL)), build_model(TINY)
    assert max(max(shown(reader, data, step)) for step in range(40)) <= 4500 - 50
    reader.read_beside(model, data, TrainingPlan(steps=10, steps_done=9), batch_bytes=400)
    fresh = [sum(start >= 4500 for start in shown(reader, data, step)) for step in range(40)]
    assert min(fresh[:5]) >= 4  # four of eight windows, until it was shown twice
    assert np.mean(fresh[5:]) < 2
    alone = Reader(None)
    assert max(max(shown(alone, data, step)) for step in range(40)) > 4500


def test_without_a_network_the_data_is_read_in_order_and_ends(text: bytes) -> None:
    mixer = ContextMixer(SMALL)
    reader, data = Reader(mixer), bytes_in_memory(text[: MIX_BYTES + 5000])
    read = [reader.read_alone(data, probed=probed) for probed in (False, True, False)]
    assert [each.num_bytes for each in read] == [MIX_BYTES, 5000, 0]
    assert read[0].mean_distribution is None and read[2].bits_per_byte is None
    assert read[1].mean_distribution is not None and read[1].mean_distribution.sum() == pytest.approx(1)
    assert reader.bytes_left(data) == 0 and mixer.bytes_learned == len(data)
    whole = ContextMixer(SMALL)
    logits = whole.read(data.array)
    assert np.array_equal(read[1].logits, logits[MIX_BYTES:])  # probing changes nothing
    assert all(np.array_equal(value, whole.own_arrays[name]) for name, value in mixer.own_arrays.items())


def test_documents_are_read_apart(text: bytes) -> None:
    mixer = ContextMixer(SMALL)
    whole = bytes_in_memory(text[:300])
    data = ByteData(whole.array, whole.digest, document_starts=np.array([100, 250]))
    Reader(mixer).read_alone(data)
    assert (mixer.bytes_learned, int(mixer.own_arrays["context"][DOC])) == (300, 50)


def test_a_network_of_nan_teaches_the_mixer_nothing(text: bytes) -> None:
    model, mixer = build_model(TINY), ContextMixer(SMALL)
    model.head.weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    plan = TrainingPlan(steps=10, steps_done=9)
    with pytest.raises(ModelStateError, match="NaN"):
        Reader(mixer).read_beside(model, bytes_in_memory(text[:600]), plan, batch_bytes=512)
    assert mixer.bytes_learned == 0


@pytest.mark.parametrize("wrong", [{"opened": {"a": -1}}, {"opened": None}, {"at": [1]}, {"at": ["a", "x"]}, {"read_to": []}])
def test_a_state_that_cannot_be_is_refused(wrong: dict[str, object]) -> None:
    reader, good = Reader(None), {"read_to": {"a": 10}, "opened": {"a": 3}, "at": ["a", 10]}
    reader.restore(good)
    assert reader.state() == good
    with pytest.raises((ValueError, TypeError)):
        reader.restore({**good, **wrong})
