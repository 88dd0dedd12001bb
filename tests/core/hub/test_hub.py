"""Checkpoints on a hub: pushed, pulled, refused; with a hub on loopback that breaks in all the ways of networks."""

from __future__ import annotations

import hashlib
import json
import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import TOKEN, FakeHub, Repo, fake_hub
from huggingface_hub.utils import _http

from bitlm_core import (
    BitLMError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointStore,
    CheckpointVersionError,
    ConfigError,
    EngineConfig,
    Fetched,
    Hub,
    HubConflictError,
    HubError,
    HubRepositoryError,
    Pushed,
    ResourceLimitError,
    fetch_checkpoint,
    push_checkpoint,
    read_file,
    write_file,
)

# The library itself uploads by a parameter that its HTTP client calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")
REPO = "me/bits"


@pytest.fixture
def remote() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


class Stop(BaseException):
    """What ends a transfer from inside."""


def stop_halfway(share: float) -> None:
    if share >= 0.5:
        raise Stop


class Place:
    """A state directory with one checkpoint, and a hub that is not waited for."""

    def __init__(self, root: Path, remote: FakeHub, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self.waits = root, list[float]()
        self.hub = Hub(endpoint=remote.endpoint, token=TOKEN, wait=self.waits.append)
        self.store = CheckpointStore(root / "checkpoints")
        self.scratch = root / "hub"
        monkeypatch.setattr(_http.time, "sleep", self.waits.append)  # between the library's own tries

    def save(self, name: str = "one", step: int = 3, **told: Any) -> None:
        header = {"config": EngineConfig(seed=step).model_dump(mode="json"), "step": step} | told
        tensors = {"x": torch.arange(200_000, dtype=torch.float32) + step}
        self.store.save(name, lambda path: write_file(path, tensors, header), step=step, summary={}, overwrite=True)

    def push(self, name: str = "one", **how: Any) -> Pushed:
        return push_checkpoint(self.hub, self.store, name, REPO, scratch=self.scratch, **how)

    def fetch(self, hub: Hub | None = None, **how: Any) -> Fetched:
        return fetch_checkpoint(hub or self.hub, REPO, scratch=self.scratch, **how)

    def left(self) -> list[str]:
        """What transfers have left in their folder."""
        return sorted(path.name for path in self.scratch.iterdir()) if self.scratch.exists() else []


@pytest.fixture
def place(tmp_path: Path, remote: FakeHub, monkeypatch: pytest.MonkeyPatch) -> Place:
    place = Place(tmp_path, remote, monkeypatch)
    place.save()
    return place


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
    other = Place(place.root / "other", remote, pytest.MonkeyPatch())
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


@pytest.mark.parametrize(
    ("method", "pattern"),
    [("GET", "/api/models/"), ("POST", "repos/create"), ("POST", "batch"), ("PUT", "_put"), ("POST", "/commit/")],
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


Change = Callable[[dict[str, bytes]], dict[str, bytes | None]]
"""Files as they should be ─→ those that are not; None for one that is missing."""


def damage(repo: Repo, change: Change) -> None:
    repo.commit(change(repo.commits[-1][1]))


def told(**change: Any) -> Change:
    """Another manifest."""
    return lambda files: {"bitlm.json": json.dumps(json.loads(files["bitlm.json"]) | change).encode()}


def data_told(**change: Any) -> Change:
    def changed(files: dict[str, bytes]) -> dict[str, bytes | None]:
        manifest = json.loads(files["bitlm.json"])
        manifest["files"]["model.safetensors"] |= change
        return {"bitlm.json": json.dumps(manifest).encode()}

    return changed


def with_data(data: bytes) -> Change:
    """Other data, and a manifest that believes in it."""

    def changed(files: dict[str, bytes]) -> dict[str, bytes | None]:
        told = data_told(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())(files)
        return {"model.safetensors": data, **told}

    return changed


@pytest.mark.parametrize(
    ("change", "error", "said"),
    [
        (lambda files: {"model.safetensors": files["model.safetensors"][:-1] + b"x"}, HubRepositoryError, "damaged"),
        (lambda files: {"model.safetensors": files["model.safetensors"][:-1]}, HubRepositoryError, "bytes"),
        (lambda files: {"model.safetensors": None}, HubRepositoryError, "no model.safetensors"),
        (lambda files: {"model.safetensors": None, "pytorch_model.bin": b"\x80"}, HubRepositoryError, "no model"),
        (lambda files: {"config.json": files["config.json"] + b" "}, HubRepositoryError, "bytes"),
        (lambda files: {"config.json": files["config.json"].replace(b"128", b"256")}, HubRepositoryError, "damaged"),
        (lambda files: {"bitlm.json": None}, HubRepositoryError, "no bitlm.json"),
        (lambda files: {"bitlm.json": b"[" * 5000}, HubRepositoryError, "none of this program"),
        (lambda files: {"bitlm.json": b" " * (1 << 20) + b"x"}, HubRepositoryError, "1,048,576"),
        (told(version=99), CheckpointVersionError, "update bitlm"),
        (told(format="other"), HubRepositoryError, "none of this program"),
        (told(step=4), HubRepositoryError, "step 4"),
        (data_told(bytes=1 << 60), ResourceLimitError, "1,152,921,504,606,846,976"),
        (data_told(sha256="../../etc/passwd"), HubRepositoryError, "none of this program"),
        (with_data(b"\x80\x04K\x01."), CheckpointCorruptError, "cannot be read"),
        (with_data(b"\xff" * 100), CheckpointCorruptError, "cannot be read"),
    ],
)
def test_what_is_foreign_or_damaged_is_refused(
    place: Place,
    remote: FakeHub,
    change: Change,
    error: type[BitLMError],
    said: str,
) -> None:
    place.push()
    damage(remote.repos[REPO], change)
    with pytest.raises(error, match=said):
        place.fetch()
    assert place.left() == [] and place.store.names() == ["one"]
    assert remote.count("GET", r"\.bin") == 0, "nothing but the expected files is asked for"


def test_a_listing_that_lies_is_found_out(place: Place, remote: FakeHub) -> None:
    """The file ends before it should, although the listing and the manifest say that it is whole; or it goes on."""
    pushed = place.push()
    whole = remote.repos[REPO].commits[-1][1]["model.safetensors"]
    remote.sizes = {"model.safetensors": pushed.num_bytes}
    for data in (whole[:1000], b"", whole + whole):
        damage(remote.repos[REPO], lambda files, data=data: {"model.safetensors": data})
        with pytest.raises(HubRepositoryError, match="damaged"):
            place.fetch()
        assert place.left() == []


def test_an_older_revision_may_still_be_good(place: Place, remote: FakeHub) -> None:
    pushed = place.push()
    damage(remote.repos[REPO], lambda files: {"bitlm.json": b"{}"})
    assert place.fetch(revision=pushed.commit).commit == pushed.commit
    with pytest.raises(HubError, match="revision"):
        place.fetch(revision="f" * 40)


def test_what_else_a_repository_holds_is_left_where_it_is(place: Place, remote: FakeHub) -> None:
    place.push()
    remote.repos[REPO].commit({"evil.pt": b"\x80", "modeling.py": b"boom", "README.md": b"edited"})
    assert place.fetch().step == 3
    assert {path.rsplit("/")[-1] for method, path, _ in remote.seen if "/resolve/" in path} == {
        "bitlm.json",
        "config.json",
        "model.safetensors",
    }


def test_a_repository_of_something_else_is_not_overwritten(place: Place, remote: FakeHub) -> None:
    remote.repos[REPO] = Repo(REPO)
    remote.repos[REPO].commit({"model.safetensors": b"theirs"})
    with pytest.raises(HubRepositoryError, match="another program's"):
        place.push()
    assert len(remote.repos[REPO].commits) == 2


def test_no_file_is_left_out_because_the_repository_ignores_it(place: Place, remote: FakeHub) -> None:
    remote.repos[REPO] = Repo(REPO)
    remote.repos[REPO].commit({".gitignore": b"model.safetensors\n"})
    place.push()
    assert place.fetch().step == 3


def test_a_disk_that_refuses_is_named(place: Place) -> None:
    place.push()
    place.scratch.rmdir()
    place.scratch.write_text("in the way")
    for transfer in (place.push, place.fetch):
        with pytest.raises(CheckpointError, match="state directory"):
            transfer()


def test_a_private_push_into_a_public_repository_is_refused(place: Place, remote: FakeHub) -> None:
    place.push(private=False)
    assert not remote.repos[REPO].private
    with pytest.raises(ConfigError, match="public"):
        place.push()


def test_offline_nothing_is_asked(place: Place, remote: FakeHub) -> None:
    hub = Hub(endpoint=remote.endpoint, token=TOKEN, offline=True)
    with pytest.raises(HubError, match="offline"):
        push_checkpoint(hub, place.store, "one", REPO, scratch=place.scratch)
    with pytest.raises(HubError, match="offline"):
        place.fetch(hub)
    assert remote.seen == []


def test_without_a_token_what_is_public_can_be_read_and_nothing_pushed(place: Place, remote: FakeHub) -> None:
    nobody = Hub(endpoint=remote.endpoint, wait=place.waits.append)
    with pytest.raises(ConfigError, match="HF_TOKEN"):
        push_checkpoint(nobody, place.store, "one", REPO, scratch=place.scratch)
    place.push()
    with pytest.raises(HubError, match="without a token"):
        place.fetch(nobody)
    remote.repos[REPO].private = False
    assert place.fetch(nobody).step == 3


def test_the_token_goes_to_the_hub_and_nowhere_else(
    place: Place, remote: FakeHub, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    """Not into an error, although the hub repeats it; nor a log of any level, a file, or the terminal."""
    with caplog.at_level(logging.DEBUG):
        remote.break_next("POST", "repos/create", "echo")
        with pytest.raises(HubError) as caught:
            place.push()
        remote.break_next("PUT", "_put", "busy")
        answers = [caught.value.message, repr(caught.value.facts), repr(place.hub), repr(place.push()), repr(place.fetch())]
    seen = [*answers, caplog.text, *capfd.readouterr()]
    assert "403" in answers[0] and caplog.text
    assert TOKEN not in "".join(seen) and TOKEN[3:] not in "".join(seen)
    assert all(TOKEN.encode() not in path.read_bytes() for path in place.root.rglob("*") if path.is_file())
    assert all(TOKEN.encode() not in data for data in remote.repos[REPO].commits[-1][1].values())
    assert not any(sent for _, path, sent in remote.seen if "_put" in path), "the object store needs no token"


def test_where_files_are_stored_elsewhere_the_token_is_not_sent(place: Place, remote: FakeHub) -> None:
    pushed = place.push()
    with fake_hub() as store:
        remote.elsewhere, store.blobs = store.endpoint, remote.blobs
        store.break_next("GET", "_get", "cut")
        assert place.fetch().sha256 == pushed.sha256
        assert [(path.split("/")[1], sent) for _, path, sent in store.seen] == [("_get", False)] * 2


@pytest.mark.parametrize("repo", ["bits", "../x/y", "me/../x", "me/a--b", "me/bits/x", "-me/x", "me/x-", "me/ü", ""])
def test_names_that_are_none_are_refused_at_once(place: Place, remote: FakeHub, repo: str) -> None:
    with pytest.raises(ConfigError, match="names no repository"):
        fetch_checkpoint(place.hub, repo, scratch=place.scratch)
    with pytest.raises(ConfigError, match="names no repository"):
        push_checkpoint(place.hub, place.store, "one", repo, scratch=place.scratch)
    assert remote.seen == []


def test_other_arguments_that_cannot_be_are_refused_at_once(place: Place, remote: FakeHub) -> None:
    with pytest.raises(ConfigError, match="a branch, a tag"):
        place.fetch(revision="../main")
    with pytest.raises(ConfigError, match="parent_commit"):
        place.push(parent_commit="main")
    with pytest.raises(ConfigError, match="license"):
        place.push(license_id="my\nlicence")
    assert remote.seen == []


def test_a_hub_that_is_not_there(place: Place, tmp_path: Path) -> None:
    with fake_hub() as gone:
        endpoint = gone.endpoint
    with pytest.raises(HubError, match="the line to"):
        place.fetch(Hub(endpoint=endpoint, wait=place.waits.append))
