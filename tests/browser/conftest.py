"""The page in a real browser: `make browser` installs what drives it, and `--browser` says that it is there.

A scenario is a program for Node in this folder; a test gives it a server, and answers what it asks for. What scenarios measure
is told in one line of JSON at the end.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import anyio
import anyio.abc
import pytest
from anyio.streams.text import TextReceiveStream
from dummy_process import ENV

from tests.browser.servers import HERE, Play, Server, serving

NODE = HERE.parent / "judges" / ".venv" / "bin"
LIMIT_S = 180.0
collect_ignore: list[str] = []

Figures = dict[str, Any]
Answers = Mapping[str, Callable[..., Awaitable[Any]]]
_FIGURES = pytest.StashKey[Figures]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_FIGURES] = {}
    if not config.getoption("--browser"):
        collect_ignore.extend(path.name for path in HERE.glob("test_*.py"))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    if figures := config.stash[_FIGURES]:
        terminalreporter.write_line(json.dumps(figures, sort_keys=True))


@pytest.fixture
def figures(pytestconfig: pytest.Config) -> Figures:
    """Where what is measured is put down."""
    return pytestconfig.stash[_FIGURES]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    """A server over a state directory that is empty."""
    with serving(tmp_path / "state") as one:
        yield one


@pytest.fixture
def play(figures: Figures) -> Play:
    """Play a scenario: what it is given as JSON, and the answers to what it asks for, by name."""
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    assert chromium, "no chromium: install Debian's package chromium, or set CHROMIUM to its path"
    env = ENV | {"PATH": os.pathsep.join([str(NODE), os.environ["PATH"]]), "CHROMIUM": chromium}

    async def play(script: str, answers: Answers | None = None, *, limit_s: float = LIMIT_S, **given: Any) -> None:
        command = ["node", str(HERE / script), json.dumps(given)]
        complaint = bytearray()
        with anyio.move_on_after(limit_s) as limit:
            async with await anyio.open_process(command, env=env) as process, anyio.create_task_group() as group:
                assert process.stdin and process.stdout and process.stderr

                async def listen() -> None:
                    assert process.stderr
                    async for part in process.stderr:
                        complaint.extend(part)

                group.start_soon(listen)
                async for line in _lines(process.stdout):
                    said = json.loads(line)
                    if "figures" in said:
                        figures.update(said["figures"])
                        continue
                    answer = await (answers or {})[said["ask"]](**said["arguments"])
                    await process.stdin.send(json.dumps(answer).encode() + b"\n")
        assert not limit.cancelled_caught, f"{script} has not ended within {limit_s} s: {complaint.decode()[-2000:]}"
        assert process.returncode == 0, complaint.decode()[-4000:]

    return play


async def _lines(stream: anyio.abc.ByteReceiveStream) -> AsyncIterator[str]:
    rest = ""
    async for text in TextReceiveStream(stream):
        *lines, rest = (rest + text).split("\n")
        for line in lines:
            yield line
