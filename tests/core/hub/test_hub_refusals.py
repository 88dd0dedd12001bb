"""What is not pushed to a hub, or not taken from it: foreign, damaged, without a token, offline, over what others have."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable
from typing import Any

import pytest
from fake_hub import TOKEN, FakeHub, Repo, fake_hub
from hub_places import REPO, Place

from bitlm_core import (
    BitLMError,
    CheckpointCorruptError,
    CheckpointError,
    CheckpointVersionError,
    ConfigError,
    Hub,
    HubError,
    HubRepositoryError,
    ResourceLimitError,
    fetch_checkpoint,
    push_checkpoint,
)

# The library itself uploads by a parameter that its HTTP client calls deprecated.
pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")


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
    assert "403" in answers[0] and answers[0].isprintable() and caplog.text
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


def test_a_hub_that_is_not_there(place: Place) -> None:
    with fake_hub() as gone:
        endpoint = gone.endpoint
    with pytest.raises(HubError, match="the line to"):
        place.fetch(Hub(endpoint=endpoint, wait=place.waits.append))
    with pytest.raises(HubError, match="not understood"):
        place.fetch(Hub(endpoint="https://hub\x1b.example"))
