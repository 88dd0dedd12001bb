"""Checkpoints: what was saved comes back; what was damaged is named; what fails changes nothing."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from bitlm_core import (
    CheckpointCorruptError,
    CheckpointError,
    CheckpointInfo,
    CheckpointNotFoundError,
    CheckpointStore,
    CheckpointVersionError,
    Engine,
    EngineConfig,
    MixingConfig,
    ModelStateError,
    ResourceLimitError,
    SamplingConfig,
    TrainingPlan,
    bytes_in_memory,
    durable,
    preset_config,
    read_file,
    write_file,
)
from tests.conftest import run


def save(store: CheckpointStore, name: str, value: float = 1.0, **fields: Any) -> None:
    tensors = {"weight": torch.full((4, 3), value)}
    store.save(name, lambda path: write_file(path, tensors, {"step": 3}), step=3, summary={}, **{"overwrite": False, **fields})


def load(store: CheckpointStore, name: str) -> torch.Tensor:
    return read_file(store.verified_path(name), name)[0]["weight"]


def data_file(store: CheckpointStore, name: str) -> Path:
    return next((store.root / name).glob("*.safetensors"))


@pytest.fixture
def store(tmp_path: Path) -> CheckpointStore:
    return CheckpointStore(tmp_path / "checkpoints")


def test_what_was_saved_comes_back(store: CheckpointStore) -> None:
    save(store, "one")
    assert torch.equal(load(store, "one"), torch.ones(4, 3))
    info = store.info("one")
    assert (info.name, info.step, info.bytes_) == ("one", 3, data_file(store, "one").stat().st_size)
    assert store.names() == ["one"]


def test_equal_content_gives_equal_bytes(store: CheckpointStore) -> None:
    save(store, "one")
    save(store, "two")
    assert store.info("one").sha256 == store.info("two").sha256


def test_a_name_is_not_taken_twice_without_leave(store: CheckpointStore) -> None:
    save(store, "one")
    with pytest.raises(CheckpointError, match="exists already"):
        save(store, "one", 2.0)
    assert torch.equal(load(store, "one"), torch.ones(4, 3))
    save(store, "one", 2.0, overwrite=True)
    assert torch.equal(load(store, "one"), torch.full((4, 3), 2.0))
    assert sorted(path.suffix for path in (store.root / "one").iterdir()) == [".json", ".safetensors"]


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "A", ".hidden", "x" * 65, "a\0", "ä", "one\n"])
def test_a_name_is_never_a_path(store: CheckpointStore, name: str) -> None:
    for use in (store.info, store.verified_path):
        with pytest.raises(CheckpointError):
            use(name)
    with pytest.raises(CheckpointError, match="no checkpoint name"):
        save(store, name)
    assert not store.root.exists()


def test_an_unknown_name_tells_the_known_ones(store: CheckpointStore) -> None:
    save(store, "one")
    with pytest.raises(CheckpointNotFoundError, match="Available: one"):
        store.verified_path("two")


def test_every_kind_of_damage_is_named(store: CheckpointStore) -> None:
    for kind in ("flip", "cut", "gone", "manifest"):
        save(store, kind)
    save(store, "good")
    file = data_file(store, "flip")
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    os.truncate(data_file(store, "cut"), 10)
    data_file(store, "gone").unlink()
    (store.root / "manifest" / "manifest.json").write_text('{"name": "manifest"')
    for kind in ("flip", "cut", "gone", "manifest"):
        with pytest.raises(CheckpointCorruptError, match=f"'{kind}'.*good"):
            store.verified_path(kind)
    assert torch.equal(load(store, "good"), torch.ones(4, 3))


def test_an_overwrite_removes_the_file_it_replaced_and_no_other(store: CheckpointStore) -> None:
    save(store, "one", 1.0)
    replaced, foreign = data_file(store, "one"), store.root / "one" / f"{'0' * 64}.safetensors"
    foreign.write_bytes(b"another process is about to name this one")
    save(store, "one", 2.0, overwrite=True)
    save(store, "one", 2.0, overwrite=True)  # the same content is the same file
    assert foreign.exists() and not replaced.exists()
    assert store.verified_path("one").exists()


def test_a_disk_that_refuses_leaves_the_old_checkpoint(store: CheckpointStore) -> None:
    save(store, "one")

    def refuse(path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")

    with pytest.raises(CheckpointError, match="No space left"):
        store.save("one", refuse, step=4, summary={}, overwrite=True)
    assert torch.equal(load(store, "one"), torch.ones(4, 3))
    assert len(list((store.root / "one").iterdir())) == 2


def test_of_two_that_race_for_a_new_name_one_wins(store: CheckpointStore) -> None:
    other = CheckpointStore(store.root)

    def write_while_another_takes_the_name(path: Path) -> None:
        write_file(path, {"weight": torch.full((4, 3), 2.0)}, {"step": 4})
        save(other, "one", 1.0)

    with pytest.raises(CheckpointError, match="exists already"):
        store.save("one", write_while_another_takes_the_name, step=4, summary={}, overwrite=False)
    assert torch.equal(load(store, "one"), torch.ones(4, 3))
    assert not list((store.root / "one").glob(".saving-*"))


def test_a_guard_that_refuses_leaves_the_old_checkpoint(store: CheckpointStore) -> None:
    save(store, "one")
    path = store.scratch("one")
    write_file(path, {"weight": torch.zeros(1)}, {"step": 5})

    @contextmanager
    def refuse(_: CheckpointInfo) -> Iterator[None]:
        raise ModelStateError("somebody else holds it")
        yield

    with pytest.raises(ModelStateError):
        store.publish("one", path, step=5, summary={}, overwrite=True, guard=refuse)
    assert torch.equal(load(store, "one"), torch.ones(4, 3))
    assert not path.exists()


def test_the_generation_before_is_kept_on_request(tmp_path: Path) -> None:
    store = CheckpointStore(tmp_path, keep_previous=True)
    for value in (1.0, 2.0, 3.0):
        save(store, "one", value, overwrite=True)
    info = store.info("one")
    kept = {path.stem for path in (store.root / "one").glob("*.safetensors")}
    assert kept == {info.sha256, info.previous} and len(kept) == 2


def test_what_is_held_outlives_its_replacement(store: CheckpointStore, tmp_path: Path) -> None:
    save(store, "one", 1.0)
    held = tmp_path / "held"
    assert store.hold("one", held) == store.info("one")
    save(store, "one", 2.0, overwrite=True)
    assert torch.equal(read_file(held, "held")[0]["weight"], torch.ones(4, 3))


def test_a_pin_and_an_end(store: CheckpointStore) -> None:
    save(store, "one")
    assert not store.info("one").pinned
    assert store.pin("one", True).pinned and store.info("one").pinned
    store.delete("one")
    assert store.names() == [] and not (store.root / "one").exists()


def test_the_newest_good_one_is_offered(store: CheckpointStore) -> None:
    for name in ("old", "new", "newest", "damaged"):
        save(store, name)
    for name in ("damaged", "newest"):
        os.truncate(data_file(store, name), 10)
    with pytest.raises(CheckpointCorruptError, match="newest good one instead: 'new'"):
        store.verified("damaged")
    for name in ("old", "new"):
        os.truncate(data_file(store, name), 10)
    with pytest.raises(CheckpointCorruptError, match="no other good one"):
        store.verified("damaged")


def test_a_full_disk_is_seen_before_anything_is_written(store: CheckpointStore, monkeypatch: pytest.MonkeyPatch) -> None:
    save(store, "one")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=durable.SPARE_DISK_BYTES + 40))
    with pytest.raises(ResourceLimitError, match="room for 40") as caught:
        save(store, "one", 2.0, overwrite=True)
    assert (caught.value.estimate, caught.value.limit) == (48, 40)
    assert torch.equal(load(store, "one"), torch.ones(4, 3))


@contextmanager
def failing_at_its_end() -> Iterator[None]:
    yield
    raise KeyError


def test_a_guard_that_fails_at_its_end_leaves_everything(store: CheckpointStore) -> None:
    save(store, "one", 1.0)
    for name in ("one", "new"):
        write_file(path := store.scratch(name), {"weight": torch.full((4, 3), 2.0)}, {"step": 3})
        with pytest.raises(KeyError):
            store.publish(name, path, step=4, summary={}, overwrite=True, guard=lambda info: failing_at_its_end())
    with pytest.raises(KeyError):
        store.delete("one", failing_at_its_end())
    assert store.names() == ["one"] and torch.equal(load(store, "one"), torch.ones(4, 3))


def test_what_killed_writers_left_is_swept(store: CheckpointStore) -> None:
    save(store, "one")
    store.scratch("one").write_bytes(b"half")
    store.scratch("unpublished").write_bytes(b"half")
    (store.root / "one" / ".tmpAbCdEf").write_bytes(b"half of a safetensors file")
    (store.root / ".removing-x").mkdir()
    (store.root / "lost its manifest").mkdir()
    (store.root / "lost its manifest" / "data").write_bytes(b"all that is left")
    (store.root / "one" / f"{'a' * 64}.safetensors").write_bytes(b"x")
    save(store, "damaged")
    (store.root / "damaged" / "manifest.json").write_text("{")
    store.sweep()
    assert sorted(path.name for path in store.root.iterdir()) == ["damaged", "lost its manifest", "one"]
    assert sorted(path.name for path in (store.root / "one").iterdir()) == sorted(
        [data_file(store, "one").name, "manifest.json"]
    )
    assert torch.equal(load(store, "one"), torch.ones(4, 3)) and data_file(store, "damaged").exists()


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, ("exit 1",)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\0" * 7,
        struct.pack("<Q", 2**60),
        struct.pack("<Q", 10) + b"{",
        struct.pack("<Q", 2) + b"{}",
        pickle.dumps(Bomb()),
        struct.pack("<Q", 38) + json.dumps({"__metadata__": {"bitlm": "not json"}}).encode(),
    ],
)
def test_foreign_files_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(CheckpointCorruptError, match="'evil'"):
        read_file(tmp_path / "file", "evil")


def test_a_newer_format_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_core.checkpoint.format.VERSION", 99)
    write_file(tmp_path / "file", {"weight": torch.ones(1)}, {"step": 0})
    monkeypatch.undo()
    with pytest.raises(CheckpointVersionError) as caught:
        read_file(tmp_path / "file", "new")
    assert caught.value.version == 99


@pytest.mark.parametrize(
    "text", ['{"version": "1"}', '{"version": true}', '{"version": 0}', '{"version": [2]}', "[1]", "[" * 100_000]
)
def test_a_header_that_is_none_of_ours_is_refused(tmp_path: Path, text: str) -> None:
    save_file({"weight": torch.ones(1)}, tmp_path / "file", metadata={"bitlm": text})
    with pytest.raises(CheckpointCorruptError, match="'evil'"):
        read_file(tmp_path / "file", "evil")


@pytest.mark.parametrize(
    "changed",
    [
        *({"sha256": value} for value in ("../" * 8, "A" * 64, "a" * 63, "a" * 64 + "\n", None, 7)),
        *({"step": value} for value in (-1, "3", True, 1.5)),
        {"bytes_": "1"},
        {"name": "other"},
        {"saved_at": 7},
        {"summary": []},
        {"more": 1},
    ],
    ids=repr,
)
def test_a_manifest_that_is_none_of_ours_is_refused(store: CheckpointStore, changed: dict[str, Any]) -> None:
    save(store, "one")
    manifest = store.root / "one" / "manifest.json"
    manifest.write_text(json.dumps({**json.loads(manifest.read_text()), **changed}))
    with pytest.raises(CheckpointCorruptError, match="manifest of checkpoint 'one'"):
        store.info("one")


def test_a_manifest_that_cannot_be_read_is_refused(store: CheckpointStore) -> None:
    save(store, "deep")
    (store.root / "deep" / "manifest.json").write_text("[" * 100_000)
    (store.root / "folder" / "manifest.json").mkdir(parents=True)
    for name in ("deep", "folder"):
        with pytest.raises(CheckpointCorruptError, match="damaged"):
            store.info(name)


def test_an_engine_comes_back_whole(trained: Engine, tmp_path: Path) -> None:
    write_file(tmp_path / "engine", *trained.state())
    twin = Engine.from_state(*read_file(tmp_path / "engine", "engine"))
    assert twin.config == trained.config and twin.step == trained.step
    first, second = trained.state(), twin.state()
    assert first[1] == second[1]
    assert all(torch.equal(value, second[0][name]) for name, value in first[0].items())
    asked = [run(engine.infer_steps(b"The ", 30, SamplingConfig(seed=5)))[0] for engine in (trained, twin)]
    assert asked[0] == asked[1]


def test_a_format_too_old_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bitlm_core.checkpoint.format.VERSION", 1)
    write_file(tmp_path / "file", {"weight": torch.ones(1)}, {"step": 0})
    monkeypatch.undo()
    with pytest.raises(CheckpointVersionError, match=r"version 1; this program reads version 4.*train it anew"):
        read_file(tmp_path / "file", "old")


def test_a_mixer_that_has_read_little_takes_little_room(tmp_path: Path, text: bytes) -> None:
    engine = Engine(EngineConfig(model=preset_config(None, "mix"), mixing=MixingConfig(memory_mib=16)))
    write_file(tmp_path / "fresh", *engine.state())
    for _ in engine.train_steps(bytes_in_memory(text[:2000]), TrainingPlan(steps=1)):
        pass
    write_file(tmp_path / "begun", *engine.state())
    assert (tmp_path / "fresh").stat().st_size < 400_000
    assert (tmp_path / "begun").stat().st_size < 1_500_000


@pytest.mark.parametrize("lost", ["model.", "mixer.", "optimizer.", "reference"])
def test_a_state_that_lacks_a_part_is_refused(trained: Engine, lost: str) -> None:
    tensors, header = trained.state()
    victim = next(name for name in tensors if name.startswith(lost))
    del tensors[victim]
    with pytest.raises(ModelStateError, match="saved state"):
        Engine.from_state(tensors, header)
