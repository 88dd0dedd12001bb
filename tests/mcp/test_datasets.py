"""Datasets: what goes in, how it is split, and what happens when one is replaced or damaged."""

from __future__ import annotations

import contextlib
import hashlib
import json
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from bitlm_core import CodecError, ConfigError, ResourceLimitError
from bitlm_mcp import dataset_files
from bitlm_mcp.datasets import DatasetError, DatasetStore
from bitlm_mcp.errors import UnknownHandleError


@pytest.fixture
def store(tmp_path: Path) -> DatasetStore:
    return DatasetStore(tmp_path / "state" / "datasets")


def add(store: DatasetStore, data: bytes = b"0123456789", **fields: object) -> None:
    settings = {"source": "text", "holdout_fraction": 0.2, "overwrite": False} | fields
    store.add("d", [[data[:3], data[3:]]], **settings)  # type: ignore[arg-type]


def left_over(store: DatasetStore) -> list[str]:
    return sorted(path.name for path in store.root.iterdir()) if store.root.exists() else []


def test_the_end_is_held_back(store: DatasetStore) -> None:
    add(store)
    assert store.part("d", holdout=False).open().array.tobytes() == b"01234567"
    assert store.part("d", holdout=True).open().array.tobytes() == b"89"
    view = store.views()["d"]
    assert (view.num_bytes, view.train_bytes, view.holdout_bytes) == (10, 8, 2)
    assert view.sha256 == hashlib.sha256(b"0123456789").hexdigest()
    assert store.part("d", holdout=False).digest == hashlib.sha256(b"01234567").hexdigest()
    assert left_over(store) == ["d"]


def test_a_dataset_is_replaced_only_with_leave(store: DatasetStore) -> None:
    add(store)
    with pytest.raises(ConfigError, match="overwrite=true"):
        add(store, b"other")
    mapped = store.part("d", holdout=False).open()
    add(store, b"other", overwrite=True)
    assert store.part("d", holdout=False).open().array.tobytes() == b"othe"
    assert mapped.array.tobytes() == b"01234567"  # who had it open keeps what he had
    assert left_over(store) == ["d"]


def test_refused_data_leaves_nothing_behind(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match="empty"):
        add(store, b"")
    monkeypatch.setattr(dataset_files, "MAX_DATASET_BYTES", 5)
    with pytest.raises(ResourceLimitError, match="more than the 5 bytes"):
        add(store)
    assert left_over(store) == []
    with pytest.raises(UnknownHandleError, match="add_dataset first"):
        store.part("d", holdout=False)


@pytest.mark.parametrize("content", ["", "{}", '{"num_bytes": 1}', "[1]"])
def test_a_damaged_dataset_is_named_and_harms_no_other(store: DatasetStore, content: str) -> None:
    add(store)
    (store.root / "broken").mkdir()
    (store.root / "broken" / "about.json").write_text(content)
    assert store.views().keys() == {"d"}
    with pytest.raises(DatasetError, match="'broken' is damaged"):
        store.part("broken", holdout=False)
    next((store.root / "d").glob("*.data")).unlink()
    with pytest.raises(DatasetError, match=r"'d' is damaged.*overwrite=true"):
        store.part("d", holdout=False)


def test_readers_always_see_a_whole_dataset_while_it_is_replaced(store: DatasetStore) -> None:
    versions = [b"0123456789", b"abcdefghijklmnopqrst"]
    add(store, versions[0])
    seen: set[bytes] = set()
    done = threading.Event()

    def replace() -> None:
        try:
            for index in range(100):
                add(store, versions[index % 2], overwrite=True)
        finally:
            done.set()

    writer = threading.Thread(target=replace)
    writer.start()
    while not done.is_set():
        # Who is overtaken twice between being told the name and opening it is told so; nobody sees a mixture.
        with contextlib.suppress(ConfigError):
            seen.add(store.part("d", holdout=True).open().array.tobytes())
    writer.join()
    assert seen and seen <= {b"89", b"qrst"}
    assert len(list((store.root / "d").iterdir())) == 3  # the description, its file, and the one before


def test_who_was_told_a_name_can_still_open_it(store: DatasetStore) -> None:
    add(store)
    told = store.part("d", holdout=True)
    add(store, b"other", overwrite=True)
    assert told.open().array.tobytes() == b"89"
    add(store, b"0123456789", overwrite=True)
    with pytest.raises(ConfigError, match="replaced or removed meanwhile"):
        told.open()
    assert len(list((store.root / "d").glob("*.data"))) == 2


def test_a_dataset_can_be_deleted(store: DatasetStore) -> None:
    add(store)
    store.delete("d")
    assert left_over(store) == [] and store.views() == {}
    with pytest.raises(UnknownHandleError):
        store.delete("d")


@contextlib.contextmanager
def failing_at_its_end() -> Iterator[None]:
    yield
    raise KeyError


def test_a_guard_that_fails_at_its_end_leaves_everything(store: DatasetStore) -> None:
    add(store)
    before = store.views()
    for dataset_id in ("d", "new"):
        with pytest.raises(KeyError):
            store.add(
                dataset_id,
                [[b"other"]],
                source="text",
                holdout_fraction=0,
                overwrite=True,
                guard=lambda view: failing_at_its_end(),
            )
    with pytest.raises(KeyError):
        store.delete("d", failing_at_its_end())
    assert store.views() == before and store.intact("d")
    assert len(list(store.root.rglob("*.data"))) == 1


def test_another_server_s_file_is_left_alone(store: DatasetStore) -> None:
    add(store)
    (store.root / "d" / f"{'0' * 32}.data").write_bytes(b"about to be installed")
    add(store, overwrite=True)
    assert (store.root / "d" / f"{'0' * 32}.data").exists()


def test_what_killed_servers_left_is_swept(store: DatasetStore) -> None:
    add(store)
    add(store, b"abcdefghij", overwrite=True)
    kept = sorted(path.name for path in (store.root / "d").iterdir())
    for folder in (".adding-x", "damaged", ".removing-x", "lost-its-description"):
        (store.root / folder).mkdir()
        (store.root / folder / "whole.data").write_bytes(b"left")
    (store.root / "damaged" / "about.json").write_bytes(b"not JSON")
    for name in ("other.data", ".deleting-x"):
        (store.root / "d" / name).write_bytes(b"left")
    store.sweep()
    assert left_over(store) == ["d", "damaged", "lost-its-description"]
    assert sorted(path.name for path in (store.root / "d").iterdir()) == kept and len(kept) == 3
    assert (store.root / "damaged" / "whole.data").exists()


def stored(store: DatasetStore, *documents: bytes) -> tuple[list[int], list[int]]:
    """Where documents begin in the part to learn from and in the one held back, as the engine is told."""
    store.add("d", [[document] for document in documents], source="path", holdout_fraction=0.5, overwrite=True)
    parts = (store.part("d", holdout=holdout).open() for holdout in (False, True))
    learned, held = (part.document_starts.tolist() for part in parts)
    return learned, held


def test_documents_are_told_apart_in_both_parts(store: DatasetStore) -> None:
    assert stored(store, b"0123456789") == ([], [])
    assert stored(store, b"01", b"", b"2", b"34567", b"", b"89", b"") == ([2, 3], [3])
    assert store.views()["d"].num_documents == 4
    assert stored(store, b"01234", b"56789") == ([], [])  # the second begins where its part does


def test_too_many_documents_are_one(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dataset_files, "MAX_DOCUMENTS", 3)
    assert stored(store, b"0", b"1", b"2345") == ([1, 2], [])
    assert stored(store, b"0", b"1", b"2", b"345") == ([], [])
    assert store.views()["d"].num_documents == 4


def test_a_description_of_before_there_were_documents_is_one_of_one(store: DatasetStore) -> None:
    stored(store, b"01", b"23456789")
    file = store.root / "d" / "about.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in about.items() if "document" not in name}))
    assert store.part("d", holdout=False).open().document_starts.tolist() == []
    assert store.views()["d"].num_documents == 1
    for starts in ([0], [2, 2], [10]):
        file.write_text(json.dumps(about | {"document_starts": starts}))
        with pytest.raises(DatasetError, match="damaged"):
            store.part("d", holdout=False)


def test_statistics_are_of_what_is_learned_alone(store: DatasetStore) -> None:
    view = store.add("d", [[b"ab\nab\n"], [b"abcxyz"]], source="path", holdout_fraction=0.25, overwrite=False)
    told = {"bytes_measured": 9, "distinct_bytes": 4, "kind": "text", "num_lines": 2, "mean_document_bytes": 4.5}
    assert view.statistics is not None and view.statistics == store.views()["d"].statistics
    assert told.items() <= view.statistics.items() and view.statistics["mean_line_bytes"] == 4.5
    assert 0 < view.statistics["entropy_1"] < view.statistics["entropy_0"] < 2
    file = store.root / "d" / "about.json"
    about = json.loads(file.read_text())
    file.write_text(json.dumps({name: value for name, value in about.items() if name != "statistics"}))
    assert store.views()["d"].statistics is None  # as versions before told none
    add(store, bytes(range(128, 256)), overwrite=True)
    assert "num_lines" not in (store.views()["d"].statistics or {"num_lines": 0})


def test_a_dataset_without_held_out_part_says_so(store: DatasetStore) -> None:
    add(store, holdout_fraction=0.0)
    with pytest.raises(ConfigError, match="no held-out part"):
        store.part("d", holdout=True)


def capture(packets: list[bytes]) -> bytes:
    head = struct.pack("<IHHiIII", 0xA1B2C3D4, 2, 4, 0, 0, 65535, 1)
    return head + b"".join(struct.pack("<IIII", 0, 0, len(packet), len(packet)) + packet for packet in packets)


RECORDS = [
    ("lines", b"one\ntwo\n\nfour\nfive\n", [b"one\n", b"two\n", b"\n", b"four\n", b"five\n"]),
    ("fixed:3", b"abcdefghi", [b"abc", b"def", b"ghi"]),
    ("pcap", capture([b"first", b"", b"second"]), [b"first", b"second"]),
    ("whole", b"all of it", [b"all of it"]),
]


@pytest.mark.parametrize(("records", "data", "expected"), RECORDS)
def test_each_record_becomes_a_document(store: DatasetStore, records: str, data: bytes, expected: list[bytes]) -> None:
    add(store, data, records=records, holdout_fraction=0.0)
    view, part = store.views()["d"], store.part("d", holdout=False).open()
    assert [part.array[begin:end].tobytes() for begin, end in part.documents()] == expected
    assert view.num_documents == len(expected) and view.num_bytes == len(b"".join(expected))
    assert view.sha256 == hashlib.sha256(b"".join(expected)).hexdigest() and store.intact("d")
    assert left_over(store) == ["d"]


def test_the_documents_of_a_folder_are_cut_one_by_one(store: DatasetStore) -> None:
    files = [[capture([b"a", b"bc"])], [capture([b"def"])]]
    store.add("d", files, source="path", holdout_fraction=0.0, overwrite=False, records="pcap")
    part = store.part("d", holdout=False).open()
    assert [part.array[begin:end].tobytes() for begin, end in part.documents()] == [b"a", b"bc", b"def"]


@pytest.mark.parametrize(("fraction", "held"), [(0.1, b"four\n"), (0.5, b"three\nfour\n"), (0.9, b"two\nthree\nfour\n")])
def test_no_record_is_cut_in_two_to_hold_the_end_back(store: DatasetStore, fraction: float, held: bytes) -> None:
    add(store, b"one\ntwo\nthree\nfour\n", records="lines", holdout_fraction=fraction)
    assert store.part("d", holdout=True).open().array.tobytes() == held
    assert store.part("d", holdout=False).open().array.tobytes() + held == b"one\ntwo\nthree\nfour\n"


def test_records_that_do_not_fit_change_nothing(store: DatasetStore, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(CodecError, match="offset 9 has only 1"):
        add(store, records="fixed:3")
    with pytest.raises(CodecError, match="no capture file"):
        add(store, records="pcap")
    with pytest.raises(ConfigError, match="empty"):
        add(store, capture([b"", b""]), records="pcap")
    monkeypatch.setattr(dataset_files, "MAX_DOCUMENTS", 4)
    with pytest.raises(ResourceLimitError, match="makes 5 records, and 4 at most"):
        add(store, records="fixed:2")
    assert left_over(store) == []
