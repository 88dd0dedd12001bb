"""A disk that is full, that refuses in the middle of a file, or that can only be read: told, and nothing that was is lost."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.faults.story import TINY, Story
from tests.faults.victims import CannotInstall, Fault, Gone, ReadOnly, Refused, SmallDisk, SmallFiles, Victim, victim


@pytest.mark.parametrize("num_bytes", [120_000, pytest.param(250_000, marks=pytest.mark.slow), 600_000])
def test_files_that_cannot_grow_lose_nothing(tmp_path: Path, num_bytes: int) -> None:
    story, state = Story(random.Random(num_bytes)), tmp_path / "state"
    refused = 0
    for _ in range(4):
        with victim(state, autosave_s=0.05) as server:
            story.verify(server)
            for _ in range(8):
                story.act(server)
        try:
            with victim(state, SmallFiles(num_bytes), autosave_s=0.05) as server:
                for _ in range(15):
                    before = story.acknowledged
                    story.act(server)
                    refused += story.acknowledged == before
        except Gone:  # it would not even start, which it may
            assert "could not be" in server_log(state)
    with victim(state) as server:
        story.verify(server)
    assert refused


def server_log(state: Path) -> str:
    return state.with_name(f"{state.name}.log").read_text()


def installed(state: Path, fault: Fault) -> None:
    """Skip where the kernel lets nobody mount anything."""
    try:
        with victim(state.with_name("probe"), fault):
            pass
    except CannotInstall as error:
        pytest.skip(str(error))
    except Gone:
        pass


def test_a_full_disk_is_told_and_room_heals_everything(tmp_path: Path) -> None:
    state, disk = tmp_path / "state", tmp_path
    installed(state, fault := SmallDisk(str(disk), 330 << 20))
    log = tmp_path.with_name(f"{tmp_path.name}.log")
    with victim(state, fault, log=log, autosave_s=0.2) as server:
        server.call("add_dataset", dataset_id="d", text="a text to learn " * 100)
        server.call("init_model", model_id="m", context_mixing=False, **TINY)
        saved = server.call("save_checkpoint", name="before", model_id="m")
        job = server.call("train_step", model_id="m", dataset_id="d", seconds=300, batch_size=2, wait_s=0)
        filler = seen_by(server, disk / "filler")
        fill(filler)
        alerts = server.until("get_telemetry", lambda told: "not saved" in str(told.get("alerts")), model_id="m")["alerts"]
        assert "the disk of the state directory has room for 0" in str(alerts)
        refuses(server, "add_dataset", dataset_id="e", text="more " * 1000)
        refuses(server, "init_model", model_id="n", **TINY)
        refuses(server, "save_checkpoint", name="during", model_id="m")
        assert server.call("infer", model_id="m", prompt="a", max_new_bytes=2)["text"] is not None
        assert server.call("list_models")["models"][0]["model_id"] == "m"
        filler.unlink()
        safe = server.call("wait_job", job_id=job["job_id"], wait_s=0)["step"]
        server.until("wait_job", lambda told: (told.get("saved_step") or 0) >= safe, job_id=job["job_id"], wait_s=1)
        server.call("cancel_job", job_id=job["job_id"])
        trained = server.call("train_step", model_id="m", dataset_id="d", steps=2, batch_size=2, wait_s=30)
        assert trained["status"] == "completed"
        after = server.call("save_checkpoint", name="after", model_id="m")
        shutil.copytree(seen_by(server, state), kept := tmp_path.with_name("kept"))
    with victim(kept) as server:
        assert server.call("load_checkpoint", name="before", model_id="m", overwrite=True)["sha256"] == saved["sha256"]
        assert server.call("load_checkpoint", name="after", model_id="m", overwrite=True)["sha256"] == after["sha256"]
        assert server.call("wait_job", job_id=job["job_id"], wait_s=0)["status"] == "cancelled"
        assert server.call("wait_job", job_id=trained["job_id"], wait_s=0)["status"] == "completed"


def seen_by(server: Victim, path: Path) -> Path:
    """A path as the server's own namespace shows it."""
    return Path(f"/proc/{server.process.pid}/root") / path.relative_to("/")


def fill(path: Path) -> None:
    with path.open("wb") as file:
        size = 64 << 20
        while size:
            try:
                os.posix_fallocate(file.fileno(), file.seek(0, os.SEEK_END), size)
            except OSError:
                size //= 2


def refuses(server: Victim, tool: str, **arguments: Any) -> None:
    with pytest.raises(Refused, match="disk"):
        server.call(tool, **arguments)


def test_a_directory_that_can_only_be_read_is_told_and_left_alone(tmp_path: Path) -> None:
    state = tmp_path / "state"
    with victim(state) as server:
        server.call("init_model", model_id="m", context_mixing=False, **TINY)
        saved = server.call("save_checkpoint", name="c", model_id="m")
        assert server.stop() == 0
    installed(state, fault := ReadOnly(str(state)))
    content = contents(state)
    with pytest.raises(Gone), victim(state, fault):
        pass
    assert contents(state) == content
    said = server_log(state)
    assert "could not be opened" in said and "rights of the state directory" in said and "Traceback" not in said
    with victim(state) as server:
        assert server.call("load_checkpoint", name="c", model_id="n")["sha256"] == saved["sha256"]


def contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
