"""Files that survive: a change happens whole or not at all, and what is named is on the disk."""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from pathlib import Path

import pytest

from bitlm_core.durable import alone_in, change_within, make_folder, remove_within, sweep_folders, write_whole


@contextmanager
def refusing(when: str) -> Iterator[None]:
    """Another half of the change, which fails."""
    if when == "beginning":
        raise OSError(when)
    yield
    raise OSError(when)


@pytest.mark.parametrize("when", ["beginning", "end"])
@pytest.mark.parametrize("before", ["old", None])
def test_a_change_is_undone_when_its_other_half_fails(tmp_path: Path, when: str, before: str | None) -> None:
    path = tmp_path / "file"
    if before:
        path.write_text(before)

    def changed() -> None:
        (tmp_path / "written").write_text("new")
        (tmp_path / "written").replace(path)

    with pytest.raises(OSError, match=when):
        change_within(refusing(when), path, changed, tmp_path / "scratch")
    assert (path.read_text() if path.exists() else None) == before
    assert not (tmp_path / "scratch").exists()


def test_a_change_that_fails_itself_is_not_undone_twice(tmp_path: Path) -> None:
    def taken() -> None:
        (tmp_path / "file").write_text("of another")
        raise FileExistsError

    with pytest.raises(FileExistsError):
        change_within(refusing("end"), tmp_path / "file", taken, tmp_path / "scratch")
    assert (tmp_path / "file").read_text() == "of another"


def test_the_name_of_a_new_folder_is_synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.fstat(descriptor).st_ino))
    make_folder(tmp_path / "a" / "b")
    assert synced == [tmp_path.stat().st_ino, (tmp_path / "a").stat().st_ino]
    make_folder(tmp_path / "a" / "b")
    assert len(synced) == 2


def test_a_folder_is_removed_and_what_a_stop_leaves_is_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text("x")
    remove_within(nullcontext(), tmp_path / "a")
    with pytest.raises(FileNotFoundError):  # another was quicker
        remove_within(nullcontext(), tmp_path / "a")
    for when in ("beginning", "end"):
        with pytest.raises(OSError, match=when):
            remove_within(refusing(when), tmp_path / "b")
        assert (tmp_path / "b" / "file").exists()
    monkeypatch.setattr(shutil, "rmtree", lambda *_, **__: None)
    remove_within(nullcontext(), tmp_path / "b")
    monkeypatch.undo()
    assert sorted(path.name[:10] for path in tmp_path.iterdir()) == [".removing-", "c"]
    (tmp_path / "empty").mkdir()
    sweep_folders(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["c"]


def test_two_are_never_in_the_same_folder(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    inside, most = [0], [0]

    def enter(_: int) -> None:
        with alone_in(folder):
            inside[0] += 1
            most[0] = max(most[0], inside[0])
            os.sched_yield()
            inside[0] -= 1

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(enter, range(200)))
    assert most == [1]


def test_who_will_not_wait_is_told_that_somebody_is_there(tmp_path: Path) -> None:
    with alone_in(tmp_path), pytest.raises(BlockingIOError), alone_in(tmp_path, wait=False):
        pass
    with alone_in(tmp_path, wait=False):
        pass


def test_a_folder_that_was_replaced_while_one_waited_is_entered_anew(tmp_path: Path) -> None:
    (folder := tmp_path / "folder").mkdir()
    entered = threading.Event()

    def enter() -> None:
        with alone_in(folder):
            (folder / "mark").write_text("")
            entered.set()

    waiter = threading.Thread(target=enter)
    with alone_in(folder):
        waiter.start()
        assert not entered.wait(0.1)
        folder.rename(tmp_path / "old")
        folder.mkdir()
    waiter.join()
    assert (folder / "mark").exists() and not (tmp_path / "old" / "mark").exists()


def test_a_file_written_whole_appears_complete_or_not_at_all(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_whole(path, b"one", overwrite=False)
    with pytest.raises(FileExistsError):
        write_whole(path, b"two", overwrite=False)
    assert path.read_bytes() == b"one"
    write_whole(path, b"two", overwrite=True)
    assert path.read_bytes() == b"two"

    def full(path: Path) -> None:
        raise OSError("no space")

    monkeypatch.setattr("bitlm_core.durable.sync", full)
    with pytest.raises(OSError, match="no space"):
        write_whole(path, b"three", overwrite=True)
    assert path.read_bytes() == b"two"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file"]
