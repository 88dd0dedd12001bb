"""push_checkpoint and pull_checkpoint over the protocol, with a hub on loopback."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from fake_hub import TOKEN, FakeHub, fake_hub
from pydantic import ValidationError

from bitlm_core import CheckpointStore, read_file, write_file
from bitlm_mcp.settings import HubSettings, ServerSettings
from tests.mcp.whole_server import TEXT, Web, web

pytestmark = pytest.mark.filterwarnings("ignore:Use 'content=:DeprecationWarning")  # see tests/core/hub
REPO = "me/bits"


@pytest.fixture
def remote() -> Iterator[FakeHub]:
    with fake_hub() as hub:
        yield hub


def settings(remote: FakeHub, **hub: Any) -> dict[str, Any]:
    return {"toolsets": ("all",), "hub": {"endpoint": remote.endpoint, "token": TOKEN} | hub}


def saved(web: Web, name: str = "one") -> None:
    """A checkpoint of a small model that has learned a little."""
    web.prepared()
    web.call("train_step", model_id="m", dataset_id="data", steps=2, batch_size=2, wait_s=60)
    assert not web.call("save_checkpoint", name=name, model_id="m").get("isError")


def told(answer: dict[str, Any]) -> dict[str, Any]:
    assert not answer.get("isError"), answer
    found: dict[str, Any] = answer["structuredContent"]
    return found


def refusal(answer: dict[str, Any]) -> str:
    assert answer.get("isError"), answer
    return str(answer["content"][0]["text"])


def said(web: Web, model_id: str) -> Any:
    return told(web.call("infer", model_id=model_id, prompt=TEXT[:30], max_new_bytes=12, seed=5))["data_base64"]


def test_a_model_goes_to_the_hub_and_from_there_to_another_machine(
    tmp_path: Path, remote: FakeHub, caplog: pytest.LogCaptureFixture
) -> None:
    """The tensors are the same bit for bit, and so are the answers. The token is told nowhere."""
    caplog.set_level(logging.DEBUG)
    with web(tmp_path / "here", **settings(remote)) as here:
        saved(here)
        answers = [here.call("push_checkpoint", name="one", repo=REPO, license="mit", wait_s=60)]
        pushed = told(answers[0])
        expected = said(here, "m")
        answers += [here.call("list_jobs"), here.call("push_checkpoint", name="none", repo=REPO)]
        answers.append(here.call("push_checkpoint", name="one", repo=REPO, parent_commit="1" * 40, wait_s=60))
        assert "was to follow" in refusal(answers[-1])
    card = remote.repos[REPO].commits[-1][1]["README.md"].decode()
    assert "license: mit" in card and "| Bits per byte, in training |" in card and "| Steps | 2 |" in card
    assert pushed["status"] == "completed" and pushed["commit"] == remote.repos[REPO].head and pushed["step"] == 2
    with web(tmp_path / "there", **settings(remote)) as there:
        answers.append(there.call("pull_checkpoint", repo=REPO, name="came", wait_s=60))
        pulled = told(answers[-1])
        assert pulled["next"] == "load_checkpoint(name='came')"
        told(there.call("load_checkpoint", name="came", model_id="again"))
        assert said(there, "again") == expected
        answers.append(there.call("pull_checkpoint", repo=REPO, name="came"))
        assert "exists already" in refusal(answers[-1])
        told(there.call("pull_checkpoint", repo=REPO, name="came", overwrite=True, revision=pushed["commit"], wait_s=60))
    assert all(len(answer["content"][0]["text"]) < 1024 for answer in answers if answer is not answers[1])
    assert {name: pulled[name] for name in ("repo", "commit", "sha256", "num_bytes")} == {
        name: pushed[name] for name in ("repo", "commit", "sha256", "num_bytes")
    }
    stores = [CheckpointStore(tmp_path / place / "checkpoints") for place in ("here", "there")]
    one, other = (read_file(store.verified_path(name), name)[0] for store, name in zip(stores, ("one", "came"), strict=True))
    assert one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)
    told_of = "".join([json.dumps(answers), caplog.text])
    assert TOKEN not in told_of and list((tmp_path / "there" / "hub").iterdir()) == []
    assert all(TOKEN.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


def test_a_transfer_keeps_nobody_waiting_and_can_be_cancelled(
    tmp_path: Path, remote: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bitlm_mcp.tools.training.STOP_WAIT_S", 0.0)  # the hub says nothing until later
    arrived, go_on = threading.Event(), threading.Event()

    def hold(method: str, path: str) -> None:
        if method == "PUT":
            arrived.set()
            go_on.wait(60)

    with web(tmp_path, **settings(remote)) as here:
        saved(here)
        remote.before = hold
        begun = told(here.call("push_checkpoint", name="one", repo=REPO, wait_s=0))
        assert begun["next"] == f"wait_job(job_id={begun['job_id']!r})" and arrived.wait(30)
        assert said(here, "m"), "the compute side is free"
        job = told(here.call("wait_job", job_id=begun["job_id"], wait_s=0))
        assert job["kind"] == "push_checkpoint" and job["status"] == "running"
        told(here.call("cancel_job", job_id=begun["job_id"]))
        go_on.set()
        assert told(here.call("wait_job", job_id=begun["job_id"], wait_s=60))["status"] == "cancelled"
    assert len(remote.repos[REPO].commits) == 1, "nothing is half published"


def test_what_would_not_load_is_refused_before_it_is_stored(tmp_path: Path, remote: FakeHub) -> None:
    """Its manifest, its digests and its header are in order; its tensors are none of that model."""
    with web(tmp_path, **settings(remote)) as here:
        saved(here)
        store = CheckpointStore(tmp_path / "checkpoints")
        tensors, header = read_file(store.verified_path("one"), "one")
        del tensors["reference"]
        store.save("bad", lambda path: write_file(path, tensors, header), step=2, summary={}, overwrite=False)
        told(here.call("push_checkpoint", name="bad", repo=REPO, wait_s=60))
        for name, overwrite in (("fresh", False), ("one", True)):
            before = store.verified(name) if overwrite else None
            answer = here.call("pull_checkpoint", repo=REPO, name=name, overwrite=overwrite, wait_s=60)
            assert "does not describe a model" in refusal(answer)
            assert before is None or store.verified(name) == before
        assert store.names() == ["bad", "one"] and list((tmp_path / "hub").iterdir()) == []


def test_a_disk_that_refuses_ends_the_pull_alone(tmp_path: Path, remote: FakeHub) -> None:
    with web(tmp_path, **settings(remote)) as here:
        saved(here)
        told(here.call("push_checkpoint", name="one", repo=REPO, wait_s=60))
        (tmp_path / "checkpoints" / "came").write_text("in the way")
        assert "could not be stored" in refusal(here.call("pull_checkpoint", repo=REPO, name="came", wait_s=60))
        assert said(here, "m"), "the compute side lives"
    assert list((tmp_path / "hub").iterdir()) == []


def test_what_cannot_be_is_said_at_once(tmp_path: Path, remote: FakeHub) -> None:
    with web(tmp_path / "a", **settings(remote, offline=True)) as offline:
        saved(offline)
        assert "offline" in refusal(offline.call("push_checkpoint", name="one", repo=REPO))
        assert "offline" in refusal(offline.call("pull_checkpoint", repo=REPO, name="x"))
    with web(tmp_path / "a", **settings(remote, token=None)) as nobody:
        assert "HF_TOKEN" in refusal(nobody.call("push_checkpoint", name="one", repo=REPO))
        assert "names no repository" in refusal(nobody.call("pull_checkpoint", repo="x", name="x"))
        kinds = [job["kind"] for job in told(nobody.call("list_jobs"))["jobs"]]
        assert "push_checkpoint" not in kinds and "pull_checkpoint" not in kinds
        assert "without a token" in refusal(nobody.call("pull_checkpoint", repo=REPO, name="x", wait_s=30))
    assert [path for method, path, _ in remote.seen] == [f"/api/models/{REPO}"]


def test_the_page_has_the_hub_only_where_it_was_asked_for(tmp_path: Path, remote: FakeHub) -> None:
    def tools(web: Web) -> set[str]:
        return {tool["name"] for tool in web.http.get("/api/tools").json()["tools"]}

    with web(tmp_path / "a") as usual:
        assert "scale_model" in tools(usual) and "push_checkpoint" not in tools(usual)
        assert usual.http.post("/api/tools/push_checkpoint", json={}).status_code == 404
    with web(tmp_path / "b", **settings(remote)) as asked:
        assert {"push_checkpoint", "pull_checkpoint"} <= tools(asked)


@pytest.mark.parametrize(
    "endpoint", ["http://hub.example", "ftp://127.0.0.1", "https://me:secret@hub.example", "https://hub.example?x=1", ""]
)
def test_a_token_is_sent_to_safe_addresses_alone(endpoint: str) -> None:
    with pytest.raises(ValidationError):
        HubSettings(endpoint=endpoint)


def test_a_token_that_is_none_is_refused_and_not_repeated(tmp_path: Path) -> None:
    with pytest.raises(ValidationError) as caught:
        ServerSettings.model_validate({"state_dir": tmp_path, "hub": {"token": "hf_bad\nline"}})
    assert "hf_bad" not in str(caught.value)
    assert HubSettings.model_validate({"token": " "}).token is None
    assert TOKEN not in repr(HubSettings.model_validate({"token": TOKEN}))
