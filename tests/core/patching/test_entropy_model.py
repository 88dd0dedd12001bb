"""The entropy model: gathers against the kernel, the threshold it chooses, and its state."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from patchings import ROWS, row

from bitlm_core.errors import ConfigError
from bitlm_core.kernels.byte_entropy import next_entropy
from bitlm_core.layers.embedding import MASK, START
from bitlm_core.patching import entropy
from bitlm_core.patching.boundaries import patch_starts, patch_statistics
from bitlm_core.patching.config import PatchingConfig
from bitlm_core.patching.entropy import EntropyModel, taken_evenly


def array(data: bytes) -> np.ndarray:
    return np.frombuffer(data, np.uint8)


def read_one_by_one(model: EntropyModel, symbols: list[int]) -> list[float]:
    recent = np.zeros(2, np.int64)
    return [float(next_entropy(symbol, recent, model.resets, model.tables(), model.shift)) for symbol in symbols]


@pytest.mark.parametrize("reset_context", [False, True])
def test_gathers_read_what_the_kernel_reads(text: bytes, reset_context: bool) -> None:
    model = EntropyModel(PatchingConfig(reset_context=reset_context), ROWS)
    zeros = b"\0\0AB\0ABC\1ABA" * 9  # what masks and starts would be, cut to a byte
    model.fit(array(bytes(range(256)) * 2 + zeros + text[:20_000]))
    symbols = [START, *text[70_000:70_400], START, 10, 10, MASK, *b"\nab\nc", START, START, 200, 201, 202, *text[:50]]
    symbols += [MASK, *b"ABC", START, *b"ABA\0AB"]
    found = model.entropies(row(symbols))
    assert found.dtype == torch.float32 and found.shape == (1, len(symbols))
    assert found[0].tolist() == read_one_by_one(model, symbols)


def test_only_the_last_three_symbols_count(text: bytes) -> None:
    model = EntropyModel(PatchingConfig(), ROWS)
    model.fit(array(text[:20_000]))
    one = model.entropies(row([*b"other", *text[900:960]]))[0, 7:]
    assert torch.equal(one, model.entropies(row([*text[900:960]]))[0, 2:])
    assert torch.equal(one[1:], model.entropies(row([*text[903:960]]), row([*text[901:903]]))[0])


@pytest.mark.parametrize("monotonic", [False, True])
@pytest.mark.parametrize(("wanted", "fields"), [(1, {}), (2, {}), (4, {"min_patch_size": 2}), (8, {"max_patch_size": 12})])
def test_the_threshold_gives_the_wanted_mean(text: bytes, monotonic: bool, wanted: float, fields: dict[str, int]) -> None:
    data = array(text[:60_000])
    model = EntropyModel(PatchingConfig(mean_patch_size=wanted, monotonic=monotonic, **fields))
    fit = model.fit(data)
    symbols = row(data.tolist())
    starts = patch_starts(symbols, model.entropies(symbols), model.config, model.threshold)
    assert patch_statistics(starts).mean == pytest.approx(wanted, rel=0.02)
    assert fit.mean_patch_size == patch_statistics(starts).mean
    assert (fit.theta, fit.bytes_counted) == (model.threshold, 60_000)
    assert wanted > 1 or model.threshold < float(model.entropies(symbols).min())


def test_a_threshold_that_is_given_is_kept(text: bytes) -> None:
    model = EntropyModel(PatchingConfig(entropy_threshold=2.3), ROWS)
    fit = model.fit(array(text[:5000]))
    assert fit.theta == model.threshold == pytest.approx(2.3)
    assert 1 < fit.mean_patch_size < 24


def test_where_no_threshold_gives_the_mean_the_nearest_is_taken_and_told() -> None:
    fit = EntropyModel(PatchingConfig(), ROWS).fit(array(b"a" * 1000))
    assert fit.mean_patch_size == pytest.approx(1, abs=0.01)


def test_the_state_is_whole(text: bytes) -> None:
    model = EntropyModel(PatchingConfig(), ROWS)
    assert not model.fitted and set(model.entropies(row([START, 65, 66])).flatten().tolist()) == {8.0}
    model.fit(array(text[:5000]))
    other = EntropyModel(PatchingConfig(), ROWS)
    other.load_state_dict(model.state_dict())
    assert other.fitted and other.threshold == model.threshold
    symbols = row([*text[200:400]])
    assert torch.equal(other.entropies(symbols), model.entropies(symbols))
    assert not list(model.parameters())


def test_long_data_is_taken_evenly(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(entropy, "FIT_BYTES", 640)
    data = np.arange(64_000, dtype=np.uint32)
    found = taken_evenly(data)  # type: ignore[arg-type]
    assert len(found) == 640 and (found[0], found[-1]) == (0, 63_999)
    assert set(np.diff(found[::10]).tolist()) <= {1015, 1016}
    assert taken_evenly(data[:640]) is not None and len(taken_evenly(data[:640])) == 640


def test_what_cannot_be_fitted_is_refused() -> None:
    model = EntropyModel(PatchingConfig(), ROWS)
    with pytest.raises(ConfigError, match="0 bytes"):
        model.fit(array(b""))
    assert not model.fitted
    with pytest.raises(ConfigError, match="no power of two") as caught:
        EntropyModel(PatchingConfig(), 1000)
    assert caught.value.rows == 1000
