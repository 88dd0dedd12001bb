"""kill −9 at random: nothing that was acknowledged is lost, nothing is unreadable, and every server starts again by itself.

`--kills` says how many, `--faults-seed` from which seed; a story that fails is repeated by the seed in its name, as far as
the timing of two processes can be.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bitlm_mcp.doctor import examine_state
from tests.faults.conftest import LIVES
from tests.faults.story import Story
from tests.faults.victims import Fault, Gone, KillAfter, KillAtWrite, Nothing, victim


def some_fault(rng: random.Random, root: Path) -> Fault:
    """At a write, at a moment, or (Nothing) by the client between two calls."""
    kind = rng.random()
    if kind < 0.6:
        return KillAtWrite(str(root), rng.randrange(1, 600))
    return KillAfter(rng.uniform(0.05, 3)) if kind < 0.8 else Nothing()


def test_a_killed_server_has_lost_nothing(tmp_path: Path, story_seed: str, record_property: Callable[[str, Any], None]) -> None:
    rng = random.Random(story_seed)
    story, state, verified = Story(rng), tmp_path / "state", 0
    for _ in range(LIVES):
        options: dict[str, Any] = {"autosave_s": rng.choice([0.05, 0.3, 2])}
        if rng.random() < 0.05:
            options["isolate"] = True
        try:
            with victim(state, some_fault(rng, tmp_path), **options) as server:
                story.verify(server)
                verified += 1
                for _ in range(rng.randrange(1, 40)):
                    story.act(server)
                server.kill()
        except Gone:
            pass
    with victim(state) as server:
        story.verify(server)
        assert server.stop() == 0
    assert [finding for finding in examine_state(state) if not finding.good] == []
    assert not list(state.glob("bitlm.db.damaged-*"))
    assert not list(state.rglob(".*")), "something was left behind"
    record_property("kills", LIVES)
    record_property("acknowledged", story.acknowledged)
    record_property("verified", verified + 1)


@pytest.mark.parametrize("number", range(1, 60, 7))
def test_a_first_start_may_be_killed_at_any_write(tmp_path: Path, number: int) -> None:
    state = tmp_path / "state"
    with pytest.raises(Gone), victim(state, KillAtWrite(str(tmp_path), number)) as server:
        for name in "abcdefgh":
            server.call("add_dataset", dataset_id=name, text="begun")
    with victim(state) as server:
        server.call("add_dataset", dataset_id="d", text="begun again", overwrite=True)
        assert server.stop() == 0
    assert [finding for finding in examine_state(state) if not finding.good] == []
