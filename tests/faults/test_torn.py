"""Files that are torn, spoiled or gone: the server starts, names what is damaged, and everything else is whole."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.story import TINY
from tests.faults.victims import Refused, Victim, victim

DAMAGES: dict[str, Callable[[bytes], bytes | None]] = {
    "cut": lambda content: content[: len(content) // 2],
    "empty": lambda content: b"",
    "zeros": lambda content: bytes(len(content)),
    "flipped": lambda content: content[: len(content) // 2] + bytes(byte ^ 255 for byte in content[len(content) // 2 :]),
    "gone": lambda content: None,
}
USES = {
    "models/m/manifest.json": ("infer", {"model_id": "m", "prompt": "a", "max_new_bytes": 1}),
    "models/m/*.safetensors": ("infer", {"model_id": "m", "prompt": "a", "max_new_bytes": 1}),
    "checkpoints/c/manifest.json": ("load_checkpoint", {"name": "c", "model_id": "new"}),
    "checkpoints/c/*.safetensors": ("load_checkpoint", {"name": "c", "model_id": "new"}),
    "datasets/d/about.json": ("score", {"model_id": "k", "dataset_id": "d"}),
    "datasets/d/*.data": ("score", {"model_id": "k", "dataset_id": "d"}),
    "bitlm.db": ("list_models", {}),
    "bitlm.db-wal": ("list_models", {}),
    "bitlm.db-shm": ("list_models", {}),
    "servers/*.lock": ("list_models", {}),
    "jobs/*/output": ("list_jobs", {}),
}
HEALED = {("models/m/manifest.json", damage) for damage in DAMAGES if damage != "gone"}
"""The database says the same as the manifest of a model, so one that cannot be read costs nothing."""


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A state directory with two of everything, whose server was killed."""
    state = tmp_path_factory.mktemp("torn") / "state"
    with victim(state) as server:
        for dataset in ("d", "e"):
            server.call("add_dataset", dataset_id=dataset, text=f"text of {dataset} " * 50)
        for model in ("m", "k"):
            server.call("init_model", model_id=model, context_mixing=False, **TINY)
            server.call("train_step", model_id=model, dataset_id="e", steps=2, batch_size=2, wait_s=30)
        for name in ("c", "b"):
            server.call("save_checkpoint", name=name, model_id="k")
        server.call("infer_long", model_id="k", dataset_id="e")
        server.kill()
    yield state


def some_of_all() -> Iterator[Any]:
    """Each way to damage the database and, of every other file, one: in turn, so that each way is met. The rest is slow."""
    for number, pattern in enumerate(USES):
        for turn, damage in enumerate(DAMAGES):
            quick = pattern == "bitlm.db" or turn == number % len(DAMAGES)
            yield pytest.param(pattern, damage, marks=() if quick else pytest.mark.slow)


@pytest.mark.parametrize(("pattern", "damage"), list(some_of_all()))
def test_one_spoiled_file_harms_nothing_else(kept: Path, tmp_path: Path, pattern: str, damage: str) -> None:
    shutil.copytree(kept, state := tmp_path / "state")
    spoil(state, pattern, damage)
    tool, arguments = USES[pattern]
    with victim(state) as server:
        spoiled = pattern.split("/")[0] in ("models", "checkpoints", "datasets")
        if spoiled and (pattern, damage) not in HEALED:
            with pytest.raises(Refused, match=rf"'{pattern.split('/')[1]}'"):  # it is called by its name
                server.call(tool, **arguments)
        else:
            server.call(tool, **arguments)
        others_are_whole(server)
        assert server.stop() == 0
    with victim(state) as server:  # and once more, with what the first server made of it
        others_are_whole(server)


@pytest.mark.parametrize("damage", DAMAGES)
def test_what_is_spoiled_together_harms_nothing_else(kept: Path, tmp_path: Path, damage: str) -> None:
    shutil.copytree(kept, state := tmp_path / "state")
    patterns = [pattern for pattern in USES if not pattern.startswith("bitlm.db")]
    for pattern in patterns:
        spoil(state, pattern, damage)
    with victim(state) as server:
        for folder, name, *_ in (pattern.split("/") for pattern in patterns):
            tool, arguments = next(use for pattern, use in USES.items() if pattern.startswith(f"{folder}/"))
            if folder in ("models", "checkpoints", "datasets"):
                with pytest.raises(Refused, match=f"'{name}'"):
                    server.call(tool, **arguments)
            else:
                server.call(tool, **arguments)
        others_are_whole(server)
        assert server.stop() == 0


def spoil(state: Path, pattern: str, damage: str) -> None:
    files = list(state.glob(pattern))
    assert files, pattern
    for file in files:
        content = DAMAGES[damage](file.read_bytes())
        file.unlink() if content is None else file.write_bytes(content)


def others_are_whole(server: Victim) -> None:
    assert server.call("infer", model_id="k", prompt="text", max_new_bytes=2)["model_step"] >= 2
    assert server.call("score", model_id="k", dataset_id="e")["status"] == "completed"
    assert server.call("load_checkpoint", name="b", model_id="other", overwrite=True)["step"] == 2
    trained = server.call("train_step", model_id="k", dataset_id="e", steps=1, batch_size=2, wait_s=30)
    assert trained["status"] == "completed"
    server.call("save_checkpoint", name="later", model_id="k", overwrite=True)


def test_what_was_damaged_can_be_replaced(kept: Path, tmp_path: Path) -> None:
    shutil.copytree(kept, state := tmp_path / "state")
    for pattern in ("models/m/*", "checkpoints/c/*", "datasets/d/*"):
        for file in state.glob(pattern):
            file.write_bytes(b"spoiled")
    with victim(state) as server:
        server.call("init_model", model_id="m", overwrite=True, context_mixing=False, **TINY)
        server.call("save_checkpoint", name="c", model_id="m", overwrite=True)
        server.call("add_dataset", dataset_id="d", text="once more", overwrite=True)
        assert server.call("load_checkpoint", name="c", model_id="m", overwrite=True)["step"] == 0
