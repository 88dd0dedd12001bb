"""What a mixer has to read in a step, and that it reads every byte once."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import ByteData, MixingConfig, ModelStateError, TrainingPlan, bytes_in_memory, preset_config
from bitlm_core.kernels.mixing_layout import DOC
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.build import build_model
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.reading import ASKED_AT_LEAST, ASKED_SHARE, HEAD_BYTES, HEAD_START_BYTES, Reader, due


def run_of(total: int, *, steps: int, batch_bytes: int) -> tuple[list[int], list[int]]:
    """What each step of a plan reads, without the network and with it."""
    alone, asked, read = [], [], 0
    for step in range(steps):
        now = due(total, read, sum(asked), batch_bytes=batch_bytes, progress=(step + 1) / steps, steps_done=step)
        alone.append(now.alone)
        asked.append(now.asked)
        read += now.alone + now.asked
        assert read <= total and min(now.alone, now.asked) >= 0
    return alone, asked


@pytest.mark.parametrize("total", [2, 255, 256, 3000, 60_000, 1_003_854])
def test_a_long_enough_run_reads_everything(total: int) -> None:
    alone, asked = run_of(total, steps=1000, batch_bytes=2048)
    assert sum(alone) + sum(asked) == total
    reserve = max(int(ASKED_SHARE * total), min(total // 2, ASKED_AT_LEAST))
    assert reserve - 2048 < sum(asked) <= reserve
    last = max(step for step in range(1000) if alone[step] + asked[step])
    assert last <= 900


def test_most_is_read_at_once_and_the_rest_all_along() -> None:
    alone, asked = run_of(1_003_854, steps=1000, batch_bytes=2048)
    assert alone[0] == HEAD_BYTES and not any(alone[8:880])
    halfway = sum(asked[:500]) / sum(asked)
    assert 0.5 < halfway < 0.6 and max(asked) == 1024


def test_of_large_data_a_step_reads_in_proportion_to_what_it_trains_on() -> None:
    alone, asked = run_of(1 << 30, steps=200, batch_bytes=2048)
    assert set(alone) == {HEAD_BYTES, 2 * 2048} and max(asked) == 1024
    assert sum(alone[: -(-HEAD_START_BYTES // HEAD_BYTES)]) < 2 * HEAD_START_BYTES


def test_a_short_run_reads_what_is_left_at_its_end_and_a_shorter_one_leaves_it() -> None:
    alone, asked = run_of(1_003_854, steps=30, batch_bytes=2048)
    assert sum(alone) + sum(asked) == 1_003_854 and sum(asked) <= 30 * 1024 < sum(alone[-4:])
    alone, asked = run_of(60_000, steps=10, batch_bytes=2048)
    assert sum(alone) == 30_000 and sum(asked) == 10 * 1024


def test_a_run_of_one_step_reads_both_ways() -> None:
    assert run_of(60_000, steps=1, batch_bytes=512) == ([30_000], [256])


def test_without_a_network_the_data_is_read_in_order_and_ends(text: bytes) -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=4))
    reader, data = Reader(mixer), bytes_in_memory(text[: MIX_BYTES + 5000])
    read = [reader.read_alone(data, probed=probed) for probed in (False, True, False)]
    assert [each.num_bytes for each in read] == [MIX_BYTES, 5000, 0]
    assert read[0].mean_distribution is None and read[2].bits_per_byte is None
    assert read[1].mean_distribution is not None and read[1].mean_distribution.sum() == pytest.approx(1)
    assert reader.bytes_left(data) == 0 and mixer.bytes_learned == len(data)
    whole = ContextMixer(MixingConfig(memory_mib=4))
    logits = whole.read(data.array)
    assert np.array_equal(read[1].logits, logits[MIX_BYTES:])  # probing changes nothing
    assert all(np.array_equal(value, whole.own_arrays[name]) for name, value in mixer.own_arrays.items())


def test_documents_are_read_apart(text: bytes) -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=4))
    whole = bytes_in_memory(text[:300])
    data = ByteData(whole.array, whole.digest, document_starts=np.array([100, 250]))
    Reader(mixer).read_alone(data)
    assert (mixer.bytes_learned, int(mixer.own_arrays["context"][DOC])) == (300, 50)


def test_a_network_of_nan_teaches_the_mixer_nothing(text: bytes) -> None:
    model, mixer = build_model(preset_config("tiny", max_seq_len=64)), ContextMixer(MixingConfig(memory_mib=4))
    model.head.weight.data.fill_(float("nan"))  # type: ignore[union-attr,operator]
    with pytest.raises(ModelStateError, match="NaN"):
        Reader(mixer).read_beside(model, bytes_in_memory(text[:600]), TrainingPlan(steps=1), batch_bytes=512)
    assert mixer.bytes_learned == 300  # what is read without it


@pytest.mark.parametrize("asked", [{"a": 11}, {"b": 1}, {"a": -1}, None])
def test_a_state_that_cannot_be_is_refused(asked: object) -> None:
    reader = Reader(None)
    reader.restore({"read_to": {"a": 10}, "asked": {"a": 10}, "reading": "a"})
    assert reader.state() == {"read_to": {"a": 10}, "asked": {"a": 10}, "reading": "a"}
    with pytest.raises(ValueError, match=r"count|more was read"):
        reader.restore({"read_to": {"a": 10}, "asked": asked})
