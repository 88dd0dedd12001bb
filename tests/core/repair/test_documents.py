"""Several documents: where they end, and that nothing in one is explained by what stands before or after it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from samples import learned, lines, network, run

from bitlm_core.errors import ConfigError
from bitlm_core.repair.damage import damaged_ranges
from bitlm_core.repair.documents import ONE, Documents
from bitlm_core.repair.settings import RepairSettings
from bitlm_core.repair.steps import fresh_mixer, repair_steps
from bitlm_core.repair.suspicion import suspected_steps

FROZEN = RepairSettings(adaptive=False, passes=1)
CUT = lines().tobytes().index(b"\n", 600) + 1
OWN = lines()[:CUT]


def between(before: bytes, after: bytes) -> tuple[np.ndarray, np.ndarray]:
    """The document `OWN`, damaged, between two others; and where documents start."""
    own = OWN.copy()
    own[[0, 1, 300, CUT - 2, CUT - 1]] ^= 0x55
    data = np.concatenate([np.frombuffer(before, np.uint8), own, np.frombuffer(after, np.uint8)])
    return data, np.array([len(before), len(before) + CUT], np.int64)


def test_where_they_begin_and_end() -> None:
    found = Documents(np.array([3, 7]), 10)
    assert [(found.begin(place), found.end(place)) for place in (0, 2, 3, 6, 7, 9)] == [
        (0, 3), (0, 3), (3, 7), (3, 7), (7, 10), (7, 10)
    ]  # fmt: skip
    assert list(found.pieces(1, 9)) == [(1, 3), (3, 7), (7, 9)] and list(found.pieces(4, 4)) == []
    assert found.spans.tolist() == [[0, 3], [3, 7], [7, 10]] and Documents(ONE, 4).spans.tolist() == [[0, 4]]
    for starts in ([0], [4, 4], [5, 2], [10]):
        with pytest.raises(ConfigError, match="document_starts"):
            Documents(np.array(starts), 10)


@pytest.mark.parametrize("kind", ["mixer", "network", "both, masked"])
def test_a_document_is_restored_as_if_it_were_alone(kind: str) -> None:
    """Whatever stands beside it: the same proposals, as sure to the last digit."""
    model = None if kind == "mixer" else network(64)
    mixer = None if kind == "network" else learned()
    places = [0, 1, 300, CUT - 2, CUT - 1]

    def restored(before: bytes, after: bytes) -> Any:
        data, starts = between(before, after)
        starts = starts[[bool(before), bool(after)]]
        ranges = [[len(before) + place, 1] for place in places]
        damage = damaged_ranges(data, ranges, starts)
        found = run(repair_steps(model, mixer, damage, FROZEN, masked=kind == "both, masked"))
        return found.proposed.tolist(), found.confidence.tolist()

    alone = restored(b"", b"")
    assert restored(b"\x00" * 70, b"\xff" * 70) == restored(lines().tobytes()[:90], b"as if it went on") == alone
    data, _ = between(b"\x00" * 70, b"\xff" * 70)
    one = run(repair_steps(model, mixer, damaged_ranges(data, [[70 + place, 1] for place in places]), FROZEN))
    assert one.confidence.tolist() != alone[1]  # as one stream it is another matter


def test_damage_on_both_sides_of_an_end_is_restored_apart() -> None:
    data, starts = between(lines().tobytes()[:CUT], b"some more")
    both = damaged_ranges(data, [[CUT - 2, 4]], starts)
    apart = [damaged_ranges(data, [[at, 2]], starts) for at in (CUT - 2, CUT)]
    found = run(repair_steps(None, learned(), both, FROZEN))
    halves = [run(repair_steps(None, learned(), one, FROZEN)) for one in apart]
    assert found.confidence.tolist() == [*halves[0].confidence.tolist(), *halves[1].confidence.tolist()]


def test_documents_teach_each_other_when_the_mixer_adapts() -> None:
    """The second half is unlike anything learned yet, but for the first."""
    data, starts = between(lines().tobytes()[CUT : 2 * CUT], b"")
    starts = starts[:1]
    place = CUT + 300
    found = run(repair_steps(None, fresh_mixer(data), damaged_ranges(data, [[place, 1]], starts)))
    assert found.proposed.tolist() == [OWN[300]] and found.confidence[0] > 0.5


def test_odd_places_are_looked_for_in_each() -> None:
    data, starts = between(lines().tobytes()[:CUT], lines().tobytes()[:CUT])
    for adaptive in (False, True):
        damage = run(suspected_steps(None, learned(), data, 30, adaptive=adaptive, document_starts=starts))
        assert {CUT + 1, CUT + 300} <= set(damage.places.tolist()) and damage.document_starts is starts
    frozen = run(repair_steps(None, learned(), damage, FROZEN))
    assert CUT + 300 in frozen.offsets
