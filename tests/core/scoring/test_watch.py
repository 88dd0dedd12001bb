"""A watch over records that come one by one."""

from __future__ import annotations

import numpy as np
import pytest

from bitlm_core import ConfigError, MixingConfig, Watch

SMALL = MixingConfig(memory_mib=8)


def lines(count: int, seed: int) -> list[bytes]:
    random = np.random.default_rng(seed)
    return [
        f"host{random.integers(3)} job {random.integers(10, 99)} took {random.integers(10, 99)} ms\n".encode()
        for _ in range(count)
    ]


def test_odd_records_stand_out_however_often_they_come_and_are_not_learned() -> None:
    watch = Watch(lines(200, 1), SMALL)
    odd = b"host1 job 12 KILLED by signal 9\n"
    usual = [watch.judge(line) for line in lines(40, 2)]
    burst = [watch.judge(odd) for _ in range(10)]
    assert min(judged.statistic for judged in burst) > 2 * max(judged.statistic for judged in usual)
    assert not any(judged.learned for judged in burst)
    assert watch.num_learned == sum(judged.learned for judged in usual) > 20
    surprise = burst[0].surprise
    assert len(surprise) == len(odd) and surprise[13:19].mean() > 4 * surprise[:13].mean()


def test_the_same_records_are_judged_alike() -> None:
    one, other = Watch(lines(50, 1), SMALL, seed=3), Watch(lines(50, 1), SMALL, seed=3)
    for line in [*lines(10, 2), b"", b"x"]:
        first, second = one.judge(line), other.judge(line)
        assert first.statistic == second.statistic and (first.surprise == second.surprise).all()


def test_too_few_normal_records_are_refused() -> None:
    with pytest.raises(ConfigError, match="4 normal records to learn, at least 5"):
        Watch(lines(4, 1), SMALL)
