"""Excerpts: the very numbers of a score of the whole, wherever one looks, and patches as the network cuts them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from bitlm_core import ConfigError, ContextMixer, Excerpt, MixingConfig, excerpt_steps, inspect_model_patches
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.profile import Profile
from bitlm_core.scoring.score import record_score_steps
from tests.conftest import run
from tests.core.models.networks import a_model

WHOLE = np.array([[0, 3000]])
DOCUMENTS = np.array([[0, 900], [900, 910], [910, 2500], [2500, 3000]])


@pytest.fixture(scope="module")
def data(text: bytes) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.frombuffer(text[5000:8000], np.uint8)


@pytest.fixture(scope="module")
def mixer(text: bytes) -> ContextMixer:
    made = ContextMixer(MixingConfig(memory_mib=8))
    made.read(np.frombuffer(text[:5000], np.uint8))
    return made


@pytest.mark.parametrize(
    ("parts", "documents"), [("network", WHOLE), ("both", DOCUMENTS), ("mixer", WHOLE)], ids=["network", "both", "mixer"]
)
def test_an_excerpt_is_a_slice_of_the_score_of_the_whole(data: Any, mixer: Any, parts: str, documents: Any) -> None:
    given = (a_model("byte") if parts != "mixer" else None, mixer if parts != "network" else None)
    score = run(record_score_steps(*given, data, documents, adaptive=False))
    for offset, num_bytes in ((0, 3000), (0, 17), (905, 1), (1203, 1400), (2990, 99)):
        found: Excerpt = run(excerpt_steps(*given, data, documents, offset=offset, num_bytes=num_bytes))
        assert (found.offset, found.starts) == (offset, None)
        wanted = score.surprise[offset : offset + num_bytes]
        np.testing.assert_allclose(found.surprise, wanted, rtol=0, atol=1e-4)
        assert found.bits_per_byte == pytest.approx(float(wanted.astype(np.float64).mean()), abs=1e-4)
        if num_bytes == len(data):
            assert found.bits_per_byte == pytest.approx(score.likelihood.bits_per_byte_static, rel=1e-5)


@pytest.mark.parametrize("profile", [{"period": 7}, {}], ids=["rows", "places"])
def test_a_mixer_knows_where_in_its_document_it_stands(text: bytes, profile: dict[str, int]) -> None:
    """Rows and places are counted from the begin, and the first bytes of a document are met in all of it."""
    rows = np.frombuffer(text[:21_000], np.uint8).reshape(7, 3000).T.ravel().copy()
    mixer = ContextMixer(MixingConfig(memory_mib=8), Profile(kind="records", **profile))
    mixer.read(rows[:3000])
    score = run(record_score_steps(None, mixer, rows[:6000], np.array([[0, 10], [10, 6000]]), adaptive=False))
    found = run(excerpt_steps(None, mixer, rows[:6000], np.array([[0, 10], [10, 6000]]), offset=5500, num_bytes=300))
    assert np.array_equal(found.surprise, score.surprise[5500:5800])
    alone = run(excerpt_steps(None, mixer, rows[4475:6000], np.array([[0, 1525]]), offset=1025, num_bytes=300))
    assert not np.array_equal(found.surprise, alone.surprise)


def test_what_is_read_before_is_bounded(data: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[int] = []

    def counted(model: Any, part: Any, windows: Any) -> Any:
        read.append(len(part))
        return expert_path_logits(model, part, windows)

    monkeypatch.setattr("bitlm_core.scoring.excerpt.expert_path_logits", counted)
    run(excerpt_steps(a_model("byte"), None, data, WHOLE, offset=2500, num_bytes=10))
    assert 1024 + 12 + 10 <= read[0] <= 1024 + 2 * 12 + 10  # windows of 24 bytes stand at multiples of 12


def test_patches_are_those_of_the_network(data: Any) -> None:
    model = a_model("patch", local_width=16, local_heads=1, num_layers=1, mean_patch_size=3)
    unfitted = run(excerpt_steps(model, None, data, DOCUMENTS, offset=0, num_bytes=40))
    assert unfitted.starts is None and len(unfitted.surprise) == 40
    model.prepare(data)
    wanted = np.concatenate([inspect_model_patches(model, data[begin:end]).starts for begin, end in DOCUMENTS])
    assert 0.2 < wanted.mean() < 0.5 and wanted[[0, 900, 910, 2500]].all()
    for offset, num_bytes in ((0, 1000), (2300, 400)):
        found = run(excerpt_steps(model, None, data, DOCUMENTS, offset=offset, num_bytes=num_bytes))
        assert np.array_equal(found.starts, wanted[offset : offset + num_bytes])


@pytest.mark.parametrize(("offset", "num_bytes"), [(3000, 1), (-1, 5), (0, 0)])
def test_nothing_cannot_be_looked_at(data: Any, offset: int, num_bytes: int) -> None:
    with pytest.raises(ConfigError, match="leave nothing of the data's 3,000 bytes") as refused:
        run(excerpt_steps(a_model("byte"), None, data, WHOLE, offset=offset, num_bytes=num_bytes))
    assert refused.value.num_bytes == 3000
