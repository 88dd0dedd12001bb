"""The damage of the benchmark, its figures on data made here, and what it refuses."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core.bench.repair import EXAMINED, RepairReport, RepairTrial, damaged_at_random, repair_bench_steps
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.presets import preset_config

LINES = b"".join(b"%d bottles of beer on the wall, take one down and pass it around\n" % (7 * i % 100) for i in range(40))
MIX = EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=8))


def test_every_damaged_byte_is_another_one() -> None:
    data = np.zeros(5000, np.uint8)
    found, places = damaged_at_random(data, 0.2, 3)
    assert len(places) == len(set(places.tolist())) == 1000 and (np.diff(places) > 0).all()
    assert (np.flatnonzero(found != data) == places).all() and len(set(found[places].tolist())) > 200
    assert len(damaged_at_random(data[:3], 0.0001, 0)[1]) == 1


def test_known_lines_come_back_with_and_without_anything_learned_before() -> None:
    for share in (0.5, 0.0):
        *shares, found = repair_bench_steps(LINES, MIX, RepairTrial(train_share=share, rate=0.01))
        assert isinstance(found, RepairReport) and shares == sorted(shares)
        assert found.bytes_learned == int(share * len(LINES)) and found.examined == EXAMINED * found.damaged
        assert (
            found.exact_unhinted is None
            and found.exact > 0.7
            and found.precision >= found.precision_exact
            and found.recall >= found.recall_exact
        )


def test_candidates_from_masked_diffusion_are_told_apart() -> None:
    model = preset_config("tiny", d_model=32, num_layers=1, max_seq_len=64, ngram_rows=64, diffusion="shared")
    config = EngineConfig(model=model, mixing=MixingConfig(memory_mib=8))
    *_, found = repair_bench_steps(LINES, config, RepairTrial(train_share=0.5, rate=0.01, seconds=0.3, objective="mixed"))
    assert isinstance(found, RepairReport) and found.exact_unhinted is not None
    assert min(found.exact, found.exact_unhinted) > 0.5


@pytest.mark.parametrize("wrong", [{"train_share": 1.0}, {"train_share": -0.1}, {"rate": 0.0}, {"rate": 1.1}])
def test_shares_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="train_share="):
        list(repair_bench_steps(LINES, MIX, RepairTrial(**wrong)))
