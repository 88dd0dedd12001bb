"""What is told of a file's patches: of each byte, as it was before it came."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patchings import RULES, fitted

from bitlm_core.errors import ConfigError, ResourceLimitError
from bitlm_core.layers.embedding import START
from bitlm_core.patching import inspection
from bitlm_core.patching.boundaries import patch_starts, patch_statistics
from bitlm_core.patching.inspection import inspect_patches
from bitlm_core.patching.patcher import Patcher


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


@pytest.mark.parametrize("rule", RULES)
def test_it_tells_what_a_model_sees(text: bytes, rule: str) -> None:
    model, data = fitted(rule, text), text[30_000:31_000]
    found = inspect_patches(array(data), RULES[rule], model)
    symbols = torch.tensor([[START, *data]])
    entropies = model.entropies(symbols)
    assert found.entropies.tolist() == entropies[0, :-1].tolist()
    starts = patch_starts(symbols, entropies, RULES[rule], model.threshold)[:, 1:]
    assert found.starts.tolist() == starts[0].tolist()
    assert found.statistics == patch_statistics(starts)
    spans = found.spans(10_000)
    assert len(spans) == found.statistics.num_patches and spans[-1][1] == 1000
    assert b"".join(data[begin:end] for begin, end in spans) == data
    assert found.spans(3) == spans[:3] and found.spans(0) == []


@pytest.mark.parametrize("rule", ["entropy", "monotonic", "adaptive", "adaptive, monotonic"])
def test_thresholds_say_why(text: bytes, rule: str) -> None:
    model, data = fitted(rule, text), text[30_000:30_600]
    found = inspect_patches(array(data), RULES[rule], model)
    thresholds, patcher = found.thresholds(10_000), Patcher(RULES[rule], model)
    assert len(thresholds) == 600 and len(found.thresholds(7)) == 7 and np.isnan(thresholds[0])
    patcher.push(START)
    for place, byte in enumerate(data[:-1], start=1):
        rise = float(found.entropies[place - 1]) if found.config.monotonic else 0.0
        assert thresholds[place] == pytest.approx(patcher.theta + rise, abs=1e-9)
        patcher.push(byte)
    # A start without a rise above the threshold is there because the patch before it was as long as may be.
    for place in np.flatnonzero(found.starts[1:] != (found.entropies[1:] > thresholds[1:])) + 1:
        assert found.starts[place] and not found.starts[place - found.config.max_patch_size + 1 : place].any()


def test_without_a_model_it_is_fitted_to_the_data_itself(text: bytes) -> None:
    found = inspect_patches(array(text[:30_000]), RULES["entropy"])
    assert found.statistics.mean == pytest.approx(4, rel=0.02) and found.theta is not None
    words = inspect_patches(array(b"two words"), RULES["space"])
    assert words.spans(9) == [(0, 4), (4, 9)] and words.theta is None
    with pytest.raises(ConfigError, match="use scheme='entropy'"):
        words.thresholds(3)


def test_what_cannot_be_inspected_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="0 bytes"):
        inspect_patches(array(b""), RULES["entropy"])
    monkeypatch.setattr(inspection, "MAX_INSPECTED", 3)
    with pytest.raises(ResourceLimitError) as caught:
        inspect_patches(array(b"four"), RULES["entropy"])
    assert (caught.value.estimate, caught.value.limit) == (4, 3)
