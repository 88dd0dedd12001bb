"""The benchmark of the gate in small: kinds, lengths, figures, and how it refuses."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from bitlm_core import ConfigError, EngineConfig, SafetyReport, safety_steps
from bitlm_core.bench.safety import LENGTHS

CODE = b"".join(b"def f_%d(a, b=%d):\n    return {'k': a[%d:], 'v': b}\n\n" % (n, n * 7 % 50, n % 9) for n in range(400))


def test_it_tells_what_passes_and_what_is_caught(config_of: Callable[..., EngineConfig], text: bytes) -> None:
    steps = safety_steps(
        text[:40_000], {"code.py": CODE}, config_of("byte", mixing=None), seconds=1, quantile=0.2, outputs=(20, 10)
    )
    *shares, found = steps
    assert isinstance(found, SafetyReport) and shares == sorted(shares) and 0 < shares[-1] <= 1
    assert [kind.name for kind in found.kinds[:: len(LENGTHS)]] == [
        *("healthy", "untrained", "one byte", "cycle", "noise", "other code.py"),
    ]
    flat = found.flat()
    assert flat["passed_healthy"] == flat["passed_healthy_512"] and flat["judged_bytes"] == 512
    assert float(flat["passed_healthy"] or 0) >= 0.5  # 0.8 is promised; 20 outputs give less than 0.5 once in 500 times
    for kind in ("untrained", "one_byte", "cycle", "noise"):
        assert flat[f"caught_{kind}"] == 1.0 == 1 - float(flat[f"passed_{kind}_512"] or 0), kind
    assert flat["caught_other_data"] == 1 - float(flat["passed_other_code_py_512"] or 0)


def test_too_little_to_calibrate_with_is_refused(config_of: Callable[..., EngineConfig]) -> None:
    with pytest.raises(ConfigError, match="give 20,480 bytes or more"):
        next(safety_steps(b"a" * 20_000, {}, config_of("byte"), seconds=1))
