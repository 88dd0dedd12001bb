"""Repair as a whole: what comes back, what stays as it is, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from samples import SMALL, learned, lines, run

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.build import build_model
from bitlm_core.models.presets import preset_config
from bitlm_core.repair.damage import Damage, damaged_ranges, failed_parity
from bitlm_core.repair.settings import RepairSettings
from bitlm_core.repair.steps import fresh_mixer, repair_steps
from bitlm_core.repair.suspicion import suspected_steps

FROZEN = RepairSettings(adaptive=False)


def spoiled(places: list[int]) -> np.ndarray:
    data = lines()
    data[places] ^= 0x55
    return data


def test_told_places_come_back_and_nothing_given_is_changed() -> None:
    places = [3, 700, 701, 1500, 1506, 2300]
    data = spoiled(places)
    given, before = data.copy(), learned().state_arrays()
    found = run(repair_steps(None, learned(), damaged_ranges(data, [[place, 1] for place in places]), FROZEN))
    assert found.offsets.tolist() == places and found.num_places == 6
    right = found.proposed == lines()[places]
    assert right.sum() >= 5 and (found.confidence[right] > 0.5).all() and (found.confidence <= 1).all()
    assert (found.was == data[places]).all() and (found.restored[places] == found.proposed).all()
    others = np.delete(np.arange(len(data)), places)
    assert (found.restored[others] == data[others]).all()
    assert (data == given).all() and all((array == before[name]).all() for name, array in learned().state_arrays().items())


def test_without_a_model_the_data_teaches_itself() -> None:
    places = [1200, 1201, 1800, 2400]
    data = spoiled(places)
    damage = damaged_ranges(data, [[place, 1] for place in places])
    found = run(repair_steps(None, fresh_mixer(data), damage))
    assert (found.restored == lines()).sum() >= len(data) - 1
    again = run(repair_steps(None, fresh_mixer(data), damage))
    assert (again.confidence == found.confidence).all()


def test_early_damage_is_restored_by_what_comes_later() -> None:
    place = lines().tobytes().index(b"around")  # of the first line: nothing before tells of it
    damage = damaged_ranges(spoiled([place]), [[place, 1]])
    once = run(repair_steps(None, ContextMixer(SMALL), damage, RepairSettings(passes=1)))
    twice = run(repair_steps(None, ContextMixer(SMALL), damage, RepairSettings(passes=2)))
    assert twice.proposed[0] == ord("a") and twice.confidence[0] > 0.9 > once.confidence[0]


def test_long_runs_are_cut_and_still_filled() -> None:
    begin = lines().tobytes().index(b"bottles", 900)
    data = lines()
    data[begin : begin + 40] = 0
    found = run(repair_steps(None, learned(), damaged_ranges(data, [[begin, 40]]), RepairSettings(adaptive=False, passes=1)))
    assert (found.restored == lines()).all() and len(found.offsets) == 40


def test_failed_parity_knows_that_few_bits_are_wrong() -> None:
    bits = bytes_to_bits(lines().tobytes())
    bits[[9 * 805 + 2, 9 * 900 + 8]] ^= 1  # of the second only the parity bit
    damage = failed_parity(np.packbits(bits))
    found = run(repair_steps(None, learned(), damage, FROZEN))
    assert found.offsets.tolist() == [805, 900] and (found.restored == lines()).all()
    assert found.was[1] == found.proposed[1] == lines()[900] and found.confidence.min() > 0.9


def test_unknown_places_are_changed_only_by_a_margin() -> None:
    data = spoiled([700, 1500])
    for margin, wanted in ((14.0, [700, 1500]), (900.0, [])):
        damage = run(suspected_steps(None, learned(), data, 20, adaptive=False, margin_bits=margin))
        found = run(repair_steps(None, learned(), damage, FROZEN))
        assert found.offsets.tolist() == wanted and found.num_places == 20
        assert (found.restored == (lines() if wanted else data)).all()


def test_a_network_beside_or_without_a_mixer_and_masked_candidates() -> None:
    model = build_model(preset_config("tiny", d_model=32, nhead=1, num_layers=1, max_seq_len=32), 3).eval()
    data = spoiled([700, 707])
    damage = damaged_ranges(data, [[700, 1], [707, 1]])
    both = run(repair_steps(model, learned(), damage, FROZEN, masked=True))
    assert (both.restored == lines()).all()  # the network is untrained, and the mixer knows that
    one = damaged_ranges(data, [[700, 1]])
    alone = run(repair_steps(model, None, one, RepairSettings(adaptive=False, passes=1)))
    assert alone.confidence == pytest.approx(1 / 32, abs=0.01)  # of the alternatives kept, none is better


def test_what_cannot_be_repaired() -> None:
    nothing = Damage(np.zeros(0, np.uint8), np.zeros(0, np.int64), np.zeros((256, 256)))
    with pytest.raises(ConfigError, match="0 bytes"):
        run(repair_steps(None, learned(), nothing))
    model = build_model(preset_config("tiny", d_model=32, nhead=1, num_layers=1, max_seq_len=32), 3).eval()
    with pytest.raises(ModelStateError, match="no context mixing"):
        run(repair_steps(model, None, damaged_ranges(lines(), [[0, 1]]), RepairSettings(adaptive=True)))
    whole = Damage(lines(), np.zeros(0, np.int64), np.zeros((256, 256)))
    found = run(repair_steps(None, learned(), whole))
    assert (found.restored == lines()).all() and not len(found.offsets)
