"""Places of a mixer: they predict what a mixer that stands there does, and change nothing."""

from __future__ import annotations

import numpy as np

from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.places import PlacedMixer

DATA = np.frombuffer(b"one, two, three; one, two, four; " * 12, np.uint8)


def test_rows_read_what_a_mixer_would_read_there() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=1 << 12))
    expert = np.random.default_rng(0).normal(size=(len(DATA), 8)).astype(np.float32)
    mixer.read(DATA, expert)
    before = mixer.state_arrays()
    placed = PlacedMixer(mixer)
    here = placed.here()
    rows = np.stack([np.frombuffer(part, np.uint8) for part in (b"one, t", b"four; ", b"\x00\xff\n\n, ")])
    says = expert[:18].reshape(3, 6, 8)
    logits, after = placed.read(here, np.zeros(3, np.int64), rows, says)
    further, _ = placed.read(after, np.array([2, 0]), rows[:2], move=False)
    nodes = placed.node_logits(after, expert[:96].reshape(3, 256))
    for row in range(3):
        twin = mixer.copy()
        assert (twin.read(rows[row], says[row], learn=False) == logits[row]).all()
        assert (twin.node_logits(expert[:96].reshape(3, 256)[row]) == nodes[row]).all()
        if row == 2:
            assert (twin.read(rows[0], learn=False) == further[0]).all()
    assert all((array == before[name]).all() for name, array in mixer.state_arrays().items())


def test_places_follow_what_the_mixer_learns() -> None:
    mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=1 << 12))
    placed = PlacedMixer(mixer)
    fresh = placed.node_logits(placed.here())
    mixer.read(DATA)
    assert (placed.node_logits(placed.here())[0] == mixer.node_logits()).all()
    assert (placed.node_logits(placed.here()) != fresh).any()
