"""What a person does on the page: every form of it, by mouse and by keyboard, with a token and without."""

from __future__ import annotations

import pydoc_data.topics
import zlib
from pathlib import Path
from typing import Any

import pytest
from fake_hub import TOKEN as HUB_TOKEN
from fake_hub import fake_hub

from tests.browser.servers import TINY, Play, Server, agent, serving

TOKEN = "a-token-of-a-test-that-is-long"  # noqa: S105 - of a server that lives for a test

pytestmark = pytest.mark.anyio


@pytest.fixture
def reference(tmp_path: Path) -> Path:
    """A file of real English: a part of the language reference that comes with Python."""
    topics = pydoc_data.topics.topics
    path = tmp_path / "Language Reference.txt"
    path.write_text("\n".join(topics[name] for name in sorted(topics))[:60_000])
    return path


async def test_the_form_says_how_a_model_is_watched(server: Server, play: Play) -> None:
    async with agent(server) as tools:
        for model_id in ("watched", "other"):
            await tools("init_model", **(TINY | {"model_id": model_id}))
    await play("settings.mjs", address=server.address, model="watched", other="other")


async def test_every_form_with_good_values_and_bad_ones(server: Server, play: Play, reference: Path) -> None:
    packed = reference.with_suffix(".z")
    packed.write_bytes(zlib.compress(reference.read_bytes()))
    await play("acts.mjs", address=server.address, text=str(reference), packed=str(packed), limit_s=600)


async def test_a_model_is_made_with_the_keyboard_alone(server: Server, play: Play) -> None:
    await play("keyboard.mjs", address=server.address)


async def test_a_new_user_needs_nothing_but_the_page(server: Server, play: Play, reference: Path) -> None:
    await play("newcomer.mjs", address=server.address, file=str(reference), limit_s=300)


async def test_who_has_no_token_may_look_and_who_has_it_may_act(tmp_path: Path, play: Play) -> None:
    state = tmp_path / "state"
    with serving(state) as before:
        async with agent(before) as tools:
            await tools.trained("seen", steps=20)
    with serving(state, "--open-page", token=TOKEN) as server, serving(state, "--read-only") as reader:
        given: dict[str, Any] = {"address": server.address, "token": TOKEN, "readOnly": reader.address, "model": "seen"}
        await play("token.mjs", **given)


async def test_checkpoints_go_to_a_hub_and_come_from_it_where_the_server_has_one(tmp_path: Path, play: Play) -> None:
    with fake_hub() as remote:
        asked = ("--toolsets", "all", "--hub-endpoint", remote.endpoint)
        with serving(tmp_path / "a", *asked, hub=HUB_TOKEN) as server, serving(tmp_path / "b") as usual:
            for each in (server, usual):
                async with agent(each) as tools:
                    await tools.trained("seen", steps=3)
                    await tools("save_checkpoint", name="kept", model_id="seen")
            await play("hub.mjs", address=server.address, usual=usual.address)
        assert len(remote.repos["me/bits"].commits) == 2


async def test_the_numbers_of_the_page_are_those_of_the_tools(server: Server, play: Play, reference: Path) -> None:
    async with agent(server) as tools:
        called: list[str] = []

        async def call(tool: str, **arguments: Any) -> dict[str, Any]:
            called.append(tool)
            return await tools(tool, **arguments)

        async def facts() -> dict[str, Any]:
            text = reference.read_text()[:20_000]
            datasets = [await call("add_dataset", dataset_id=name, text=text * n) for n, name in enumerate("ab", start=1)]
            made, trained = {}, []
            kinds = {"plain": TINY, "mixed": TINY | {"context_mixing": True, "mixing_memory_mib": 8}}
            for steps, (model_id, fields) in zip((40, 44), kinds.items(), strict=True):  # so that a curve tells whose it is
                made[model_id] = await call("init_model", **(fields | {"model_id": model_id}))
                plan = {"steps": steps, "batch_size": 2, "validate_every": 20, "wait_s": 45}
                trained.append((await call("train_step", model_id=model_id, dataset_id="a", **plan))["job_id"])
            checkpoints = [await call("save_checkpoint", name=f"{name}-kept", model_id=name) for name in made]
            listed = await call("list_jobs", limit=100)
            assert set(trained) <= {job["job_id"] for job in listed["jobs"]}
            return {
                "created": made,
                "telemetry": {name: await call("get_telemetry", model_id=name, full=True, last=500) for name in made},
                "jobs": [job["job_id"] for job in listed["jobs"]],
                "datasets": datasets,
                "checkpoints": checkpoints,
                "calls": called,
            }

        async def jobs(ids: list[str]) -> list[dict[str, Any]]:
            return [await tools("wait_job", job_id=job_id, wait_s=0) for job_id in ids]

        await play("numbers.mjs", {"facts": facts, "jobs": jobs}, address=server.address)
