"""Checkpoints to a hub and from it, with a hub on loopback that breaks in all the ways of networks."""

from __future__ import annotations

import json
import threading

import pytest
from fake_hub import FakeHub
from hub_places import REPO, Place, Stop, stop_halfway

from bitlm_core import (
    HubConflictError,
    HubError,
    Pushed,
    read_file,
)

# The library itself uploads by a parameter that its HTTP client calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


def test_what_was_pushed_comes_back(place: Place, remote: FakeHub) -> None:
    shares: list[float] = []
    pushed = place.push(license_id="apache-2.0", told=shares.append)
    files = remote.repos[REPO].files(pushed.commit) or {}
    assert sorted(files) == [".gitattributes", "README.md", "bitlm.json", "config.json", "model.safetensors"]
    assert remote.repos[REPO].private and pushed.url == f"{remote.endpoint}/{REPO}/commit/{pushed.commit}"
    assert shares == sorted(shares) and shares[0] == 0 and shares[-1] == 1
    fetched = place.fetch(told=shares.append)
    assert fetched.commit == pushed.commit and fetched.sha256 == pushed.sha256 and shares[-1] == 1
    assert fetched.path.read_bytes() == place.store.verified_path("one").read_bytes()
    assert read_file(fetched.path, "one")[1]["step"] == fetched.step == 3
    fetched.path.unlink()
    assert place.left() == []


def test_pushing_again_makes_no_second_commit(place: Place, remote: FakeHub) -> None:
    first, again = place.push(), place.push()
    assert again == first and len(remote.repos[REPO].commits) == 2
    assert remote.count("PUT", "/_put/") == 1


def test_the_card_tells_what_was_measured_and_nothing_else(place: Place, remote: FakeHub) -> None:
    points = [{"step": 1, "bits_per_byte": 7.5, "k": 0.25, "bits_per_byte_held_out": None}, {"step": 3, "bits_per_byte": 2.25}]
    place.save(history=points, read_to={"d" * 64: 12_345})
    place.push(license_id="mit")
    card = remote.repos[REPO].commits[-1][1]["README.md"].decode()
    assert card.startswith("---\nlibrary_name: bitlm\n") and "\nlicense: mit\n" in card
    assert "| Bits per byte, in training | 2.2500 | 3 |" in card and "| K | 0.2500 | 1 |" in card
    assert "held-out" not in card and "| C |" not in card and f"12,345 bytes of `{'d' * 64}`" in card
    place.save(step=4)
    place.push()
    bare = remote.repos[REPO].commits[-1][1]["README.md"].decode()
    assert "license:" not in bare and "Nothing was measured of it yet." in bare


def test_a_push_that_should_follow_another_commit_changes_nothing(place: Place, remote: FakeHub) -> None:
    with pytest.raises(HubError, match="parent_commit out"):
        place.push(parent_commit="1" * 40)
    assert not remote.repos, "none is made to be empty"
    first = place.push()
    place.save(step=4)
    second = place.push(parent_commit=first.commit)
    place.save(step=5)
    before = list(remote.repos[REPO].commits)
    with pytest.raises(HubConflictError) as caught:
        place.push(parent_commit=first.commit)
    assert (caught.value.expected, caught.value.found) == (first.commit, second.commit)
    assert remote.repos[REPO].commits == before and remote.count("PUT", "/_put/") == 2, "refused before the upload"


def test_of_two_pushes_that_race_one_wins(place: Place, remote: FakeHub) -> None:
    """Both have seen the same commit and uploaded before either commits."""
    place.push()
    meeting = threading.Barrier(2)

    def before(method: str, path: str) -> None:
        if "/commit/" in path:
            meeting.wait(30)

    remote.before = before
    other = Place(place.root / "other", remote)
    place.save(step=4)
    other.save(step=5)
    ends: list[Pushed | HubConflictError] = []

    def push(one: Place) -> None:
        try:
            ends.append(one.push())
        except HubConflictError as error:
            ends.append(error)

    threads = [threading.Thread(target=push, args=(one,)) for one in (place, other)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    won, lost = sorted(ends, key=lambda end: isinstance(end, HubConflictError))
    assert isinstance(won, Pushed) and isinstance(lost, HubConflictError)
    assert lost.found == won.commit == remote.repos[REPO].head and len(remote.repos[REPO].commits) == 3
    files = remote.repos[REPO].commits[-1][1]
    assert json.loads(files["bitlm.json"])["step"] == won.step, "nothing is mixed"


def test_a_change_of_anything_meanwhile_is_a_conflict(place: Place, remote: FakeHub) -> None:
    """Here of the card, in a repository that has no checkpoint yet."""

    def before(method: str, path: str) -> None:
        if "/commit/" in path:
            remote.repos[REPO].commit({"README.md": b"edited"})

    remote.before = before
    with pytest.raises(HubConflictError):
        place.push()
    assert "bitlm.json" not in remote.repos[REPO].commits[-1][1]


@pytest.mark.parametrize(
    ("method", "pattern"),
    [
        ("GET", "/api/models/"),
        ("POST", "repos/create"),
        ("POST", "/preupload/"),
        ("POST", "batch"),
        ("PUT", "_put"),
        ("POST", "/commit/"),
    ],
)
def test_a_busy_hub_is_asked_again(place: Place, remote: FakeHub, method: str, pattern: str) -> None:
    remote.break_next(method, pattern, "busy", 2)
    place.push()
    assert place.waits == [1, 2] and len(remote.repos[REPO].commits) == 2


def test_a_hub_that_stays_busy_is_given_up(place: Place, remote: FakeHub) -> None:
    remote.break_next("GET", "/api/models/", "busy", 99)
    with pytest.raises(HubError, match="503"):
        place.push()
    assert place.waits == [1, 2, 4] and place.left() == []


def test_an_upload_that_breaks_off_leaves_nothing_and_goes_on_later(place: Place, remote: FakeHub) -> None:
    place.push()
    before = list(remote.repos[REPO].commits)
    place.save(step=4)
    with pytest.raises(Stop):
        place.push(told=stop_halfway)
    assert remote.repos[REPO].commits == before and place.left() == []
    remote.break_next("PUT", "_put", "cut")
    assert place.push().commit == remote.repos[REPO].head
    assert remote.repos[REPO].commits[-1][1]["model.safetensors"] == place.store.verified_path("one").read_bytes()
    assert remote.broken("PUT", "_put") is None, "it was sent again"
    place.save(step=5)
    remote.break_next("POST", "/commit/", "busy", 99)
    with pytest.raises(HubError):
        place.push()
    assert len(remote.repos[REPO].commits) == 3
    remote._breaks.clear()
    sent = remote.count("PUT", "_put")
    assert place.push().step == 5 and remote.count("PUT", "_put") == sent, "what was uploaded is not sent again"


def test_a_commit_whose_answer_was_lost_is_not_made_twice(place: Place, remote: FakeHub) -> None:
    remote.break_next("POST", "/commit/", "lost")
    assert place.push().commit == remote.repos[REPO].head and len(remote.repos[REPO].commits) == 2


def test_a_download_goes_on_where_the_line_broke(place: Place, remote: FakeHub) -> None:
    place.push()
    remote.break_next("GET", "model.safetensors", "cut", 2)
    fetched = place.fetch()
    assert fetched.path.read_bytes() == place.store.verified_path("one").read_bytes() and place.waits == [1, 1]


def test_a_download_that_was_given_up_is_gone_on_with(place: Place, remote: FakeHub) -> None:
    pushed = place.push()
    with pytest.raises(Stop):
        place.fetch(told=stop_halfway)
    assert place.left() == [f"{pushed.sha256}.part"]
    had = (place.scratch / place.left()[0]).stat().st_size
    shares: list[float] = []
    assert place.fetch(told=shares.append).sha256 == pushed.sha256
    assert shares[0] == pytest.approx(had / pushed.num_bytes) and shares[0] >= 0.5
