"""The database of a state directory: durable, shared, upgraded, and never a reason not to start."""

from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bitlm_mcp import database
from bitlm_mcp.database import Database, DatabaseError
from bitlm_mcp.records import ModelRow, Records
from bitlm_mcp.snapshot import HistoryPoint, Mark


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state" / "bitlm.db"


def add_dataset(opened: Database, name: str) -> None:
    with opened.write() as transaction:
        transaction.execute("INSERT INTO datasets VALUES (?, '{}')", (name,))


def datasets(opened: Database) -> list[str]:
    return [row["dataset_id"] for row in opened.rows("SELECT dataset_id FROM datasets ORDER BY 1")]


def test_what_was_written_is_there_again(path: Path) -> None:
    first = Database(path)
    add_dataset(first, "d")
    first.close()
    assert datasets(Database(path)) == ["d"]
    assert path.parent.stat().st_mode & 0o777 == 0o700


def test_a_transaction_that_raises_changes_nothing(path: Path) -> None:
    opened = Database(path)
    with pytest.raises(KeyError), opened.write() as transaction:
        transaction.execute("INSERT INTO datasets VALUES ('half', '{}')")
        raise KeyError
    assert datasets(opened) == []
    add_dataset(opened, "whole")
    assert datasets(opened) == ["whole"]


def test_other_processes_are_noticed_and_own_writes_are_not(path: Path) -> None:
    mine, other = Database(path), Database(path)
    mine.changed()
    add_dataset(mine, "own")
    assert not mine.changed()
    add_dataset(other, "foreign")
    assert mine.changed() and not mine.changed()
    assert datasets(mine) == ["foreign", "own"]


def test_writers_of_several_processes_take_turns(path: Path) -> None:
    opened = [Database(path) for _ in range(3)]

    def write(index: int) -> None:
        for number in range(20):
            add_dataset(opened[index], f"{index}-{number}")

    threads = [threading.Thread(target=write, args=(index,)) for index in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(datasets(opened[0])) == 60


@pytest.mark.parametrize("damage", ["noise", "cut", "middle"])
def test_a_damaged_file_is_set_aside(path: Path, damage: str, caplog: pytest.LogCaptureFixture) -> None:
    opened = Database(path)
    for number in range(200):
        add_dataset(opened, f"d-{number}")
    opened.close()
    content = bytearray(path.read_bytes())
    if damage == "noise":
        content = bytearray(b"no database at all" * 100)
    elif damage == "cut":
        del content[5000:]
    else:
        content[4096:12288] = b"\x55" * 8192
    path.write_bytes(content)
    again = Database(path)
    assert datasets(again) == []
    add_dataset(again, "new")
    aside = list(path.parent.glob("bitlm.db.damaged-*"))
    assert len(aside) == 1 and aside[0].read_bytes() == content and "set aside" in caplog.text


def test_of_two_that_find_damage_one_sets_it_aside(path: Path) -> None:
    Database(path).close()
    path.write_bytes(b"no database at all" * 100)
    with ThreadPoolExecutor(4) as threads:
        opened = list(threads.map(lambda _: Database(path), range(4)))
    for number, one in enumerate(opened):
        add_dataset(one, f"d-{number}")
    assert datasets(opened[0]) == ["d-0", "d-1", "d-2", "d-3"]
    assert len(list(path.parent.glob("bitlm.db.damaged-*"))) == 1


def test_a_file_that_is_locked_is_not_taken_for_damaged(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 0.05)
    opened = Database(path)
    with opened.write(), pytest.raises(DatabaseError, match="locked"):
        Database(path)
    assert not list(path.parent.glob("bitlm.db.damaged-*"))


@pytest.mark.parametrize("loss", ["removed", "replaced"])
def test_nothing_is_acknowledged_into_a_file_that_has_gone(path: Path, loss: str) -> None:
    opened = Database(path)
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink()
    if loss == "replaced":
        Database(path)
    with pytest.raises(DatabaseError, match="removed or replaced under this server"):
        add_dataset(opened, "lost")


def test_older_files_are_upgraded_and_newer_ones_refused(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dataset(Database(path), "old")
    monkeypatch.setattr(
        database, "UPGRADES", (*database.UPGRADES, "ALTER TABLE datasets ADD COLUMN note TEXT; CREATE TABLE extra (x)")
    )
    upgraded = Database(path)
    assert tuple(upgraded.rows("SELECT * FROM datasets")[0]) == ("old", "{}", None)
    assert upgraded.rows("SELECT * FROM extra") == []
    monkeypatch.undo()
    with pytest.raises(DatabaseError, match=r"schema version (\d+), and this program knows \d+: update bitlm"):
        Database(path)
    assert datasets(upgraded) == ["old"]  # refusing it has not set it aside


def test_a_history_of_before_there_was_more_to_tell_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "UPGRADES", database.UPGRADES[:1])
    with Database(path).write() as transaction:
        transaction.execute("INSERT INTO models VALUES ('m', '', 1, '{}', 0)")
        transaction.execute("INSERT INTO history VALUES ('m', 1, 2.0, 3.0, NULL, 1.0, 0.001, NULL, NULL, NULL)")
    monkeypatch.undo()
    points = Records(Database(path)).curves.points("m")
    assert points == (HistoryPoint(1, 2.0, 3.0, None, 1.0, 0.001, None, None, None),)
    assert Records(Database(path)).curves.marks("gate") == {}


def test_the_gate_marks_models_that_there_are_and_the_latest_stay(path: Path) -> None:
    records = Records(Database(path))
    with records.transaction() as transaction:
        transaction.execute("INSERT INTO models VALUES ('m', '', 1, '{}', 0)")
    marks = [("m" if number % 2 else "gone", Mark(number, "gate", f"text {number}")) for number in range(8)]
    records.curves.mark_gate(marks, keep=3)
    assert records.curves.marks("gate") == {"m": [marks[number][1] for number in (3, 5, 7)]}
    facts = ModelRow("m", "another state", {"step": 9})
    drift = [Mark(8, "drift", "moved"), Mark(1, "gate", "of another time")]
    for afresh, gate in ((False, [3, 5, 7]), (True, [1])):
        with records.transaction() as transaction:
            records.save_model(transaction, facts, (), (), drift, afresh=afresh)
        assert records.curves.marks("drift") == {"m": drift[:1]}
        assert [mark.step for mark in records.curves.marks("gate")["m"]] == gate


def test_an_upgrade_that_fails_leaves_the_old_file(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_dataset(Database(path), "old")
    monkeypatch.setattr(database, "UPGRADES", (*database.UPGRADES, "CREATE TABLE extra (x); CREATE TABLE nonsense ("))
    with pytest.raises(DatabaseError, match="could not be opened"):
        Database(path)
    monkeypatch.undo()
    assert datasets(Database(path)) == ["old"]


def test_a_disk_that_refuses_is_named_and_nothing_is_changed(path: Path) -> None:
    opened = Database(path)
    add_dataset(opened, "before")
    opened._connection.execute(f"PRAGMA max_page_count = {opened.rows('PRAGMA page_count')[0][0]}")
    with pytest.raises(DatabaseError, match="full"), opened.write() as transaction:
        for number in range(1000):
            transaction.execute("INSERT INTO datasets VALUES (?, ?)", (f"d-{number}", "x" * 1000))
    assert datasets(opened) == ["before"]


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DatabaseError, match="could not be opened"):
        Database(tmp_path / "file" / "bitlm.db")


def test_the_log_is_written_ahead_and_synced(path: Path) -> None:
    opened = Database(path)
    assert opened.rows("PRAGMA journal_mode")[0][0] == "wal" and opened.rows("PRAGMA synchronous")[0][0] == 2
    assert sqlite3.sqlite_version_info >= (3, 35)
