"""Files that survive: a change happens whole or not at all, and what is named is on the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bitlm_core.durable import change_within, make_folder


@contextmanager
def refusing(when: str) -> Iterator[None]:
    """Another half of the change, which fails."""
    if when == "beginning":
        raise OSError(when)
    yield
    raise OSError(when)


@pytest.mark.parametrize("when", ["beginning", "end"])
@pytest.mark.parametrize("before", ["old", None])
@pytest.mark.parametrize("change", ["write", "remove"])
def test_a_change_is_undone_when_its_other_half_fails(tmp_path: Path, when: str, before: str | None, change: str) -> None:
    path = tmp_path / "file"
    if before:
        path.write_text(before)

    def changed() -> None:
        if change == "write":
            path.write_text("new") if before is None else os.replace(written, path)  # noqa: PTH105
        else:
            path.unlink(missing_ok=True)

    (written := tmp_path / "written").write_text("new")
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
