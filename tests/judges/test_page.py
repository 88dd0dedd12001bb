"""The status page in a real browser, Debian's Chromium: it follows a training, cancels it, and sets how a model is watched."""

from __future__ import annotations

import os
import shutil
import subprocess

import anyio
import pytest
from mcp import Client

from tests.judges.conftest import HERE

LIMIT_S = 120


async def driven(script: str, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[bytes]:
    """A script that drives the browser, run to its end."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "no chromium: install Debian's package chromium, or set CHROMIUM to its path"
    return await anyio.run_process(["node", str(HERE / script), *arguments], env=env | {"CHROMIUM": chromium}, check=False)


@pytest.mark.anyio
async def test_the_page_follows_a_training(base: str, programs: dict[str, str]) -> None:
    async with Client(f"{base}/mcp") as client:
        await client.call_tool("init_model", {"model_id": "on-the-page", "preset": "tiny"})
        arguments = {"model_id": "on-the-page", "text": "abc " * 500, "seconds": 100, "wait_s": 0}
        started = await client.call_tool("train_step", arguments)
        assert started.structured_content is not None and not started.is_error
        found = await driven("page.mjs", base, "on-the-page", env=programs)
        job = await client.call_tool("wait_job", {"job_id": started.structured_content["job_id"], "wait_s": 0})
    assert found.returncode == 0, found.stderr.decode()[-3000:]
    assert job.structured_content is not None and job.structured_content["status"] == "cancelled"


@pytest.mark.anyio
async def test_the_form_says_how_a_model_is_watched(base: str, programs: dict[str, str]) -> None:
    async with Client(f"{base}/mcp") as client:
        for name in ("watched", "other"):
            made = await client.call_tool("init_model", {"model_id": name, "preset": "tiny", "context_mixing": False})
            assert not made.is_error
        found = await driven("settings.mjs", base, "watched", "other", env=programs)
    assert found.returncode == 0, found.stderr.decode()[-3000:]
