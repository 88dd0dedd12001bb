"""`bitlm doctor`: is this installation well, and everything that was kept in the state directory?

It starts the server as hosts do, over stdio, in an empty directory of its own, and only reads the state directory: running
servers are not disturbed.
"""

from __future__ import annotations

import os
import resource
import shutil
import sqlite3
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from bitlm_core import BitLMError, CheckpointStore
from bitlm_mcp.database import BUSY_TIMEOUT_S, UPGRADES
from bitlm_mcp.datasets import DatasetStore

MAX_LIST_BYTES = 20_000
MAX_INSTRUCTIONS_BYTES = 1024
MAX_START_CPU_S = 2.0
MIN_FREE_BYTES = 1 << 30
MAX_ENGINE_S = 600
"""How long the first steps and answers may take: a new installation compiles its kernels first, and machines are busy."""


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    what: str
    good: bool
    found: str


async def examine(state_dir: Path, environment: dict[str, str]) -> AsyncIterator[Finding]:
    """Everything that can be looked at, one finding at a time."""
    version = sys.version_info
    yield Finding("Python", version >= (3, 11), f"{version.major}.{version.minor}.{version.micro}")
    with tempfile.TemporaryDirectory(prefix="bitlm-doctor-") as scratch:
        async for finding in _server(Path(scratch), environment):
            yield finding
    for finding in examine_state(state_dir):
        yield finding


def examine_state(state_dir: Path) -> Iterator[Finding]:
    """What a state directory holds, without a server; it is only read."""
    for look in (_directory, _database, _checkpoints, _datasets):
        yield from look(state_dir)


@dataclass(frozen=True)
class Start:
    """A server that was started, asked for its tools, and ended: sizes on the wire, and its CPU seconds."""

    num_tools: int
    tools_list_bytes: int
    instructions_bytes: int
    cpu_s: float


async def started(parameters: StdioServerParameters) -> Start:
    """Start a server as hosts do, and end it again. Raises whatever keeps it from answering."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    async with Client(stdio_client(parameters)) as client:
        listed, instructions = await client.list_tools(), client.instructions or ""
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Start(
        num_tools=len(listed.tools),
        tools_list_bytes=len(listed.model_dump_json(by_alias=True, exclude_none=True).encode()),
        instructions_bytes=len(instructions.encode()),
        cpu_s=after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime,
    )


async def _server(state_dir: Path, environment: dict[str, str]) -> AsyncIterator[Finding]:
    command = ["-m", "bitlm_mcp", "serve", "--state-dir", str(state_dir), "--max-wait-s", str(MAX_ENGINE_S)]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=environment)
    try:
        start = await started(parameters)
    except Exception as error:  # whatever it is, it is what was to be found out
        yield Finding("server over stdio", False, f"{type(error).__name__}: {error}")
        return
    yield Finding("server over stdio", start.num_tools > 0, f"{start.num_tools} tools")
    yield _at_most("tools/list", start.tools_list_bytes, MAX_LIST_BYTES, "bytes")
    yield _at_most("instructions", start.instructions_bytes, MAX_INSTRUCTIONS_BYTES, "bytes")
    yield _at_most("start, tools/list and end", round(start.cpu_s, 2), MAX_START_CPU_S, "CPU-s")
    yield await _engine(parameters)


async def _engine(parameters: StdioServerParameters) -> Finding:
    """A model made, trained for a step, and asked."""
    calls: list[tuple[str, dict[str, object]]] = [
        ("init_model", {"preset": "tiny"}),
        ("train_step", {"text": "bit by bit", "steps": 1, "wait_s": MAX_ENGINE_S}),
        ("infer", {"prompt": "b", "max_new_bytes": 4}),
    ]
    async with Client(stdio_client(parameters)) as client:
        for tool, arguments in calls:
            answer = await client.call_tool(tool, arguments)
            if answer.is_error:
                return Finding("engine", False, f"{tool}: {' '.join(getattr(part, 'text', '') for part in answer.content)}")
    return Finding("engine", True, "a model was made, trained and asked")


def _at_most(what: str, found: float, limit: float, unit: str) -> Finding:
    return Finding(what, found <= limit, f"{found:,} {unit}, at most {limit:,}")


def _directory(state_dir: Path) -> Iterator[Finding]:
    existing = next(path for path in (state_dir, *state_dir.parents) if path.exists())
    writable = existing.is_dir() and os.access(existing, os.W_OK | os.X_OK)
    yield Finding("state directory", writable, f"{state_dir}{'' if state_dir.exists() else ' (not made yet)'}")
    free = shutil.disk_usage(existing).free
    yield Finding("free disk", free >= MIN_FREE_BYTES, f"{free / 2**30:.1f} GiB, at least {MIN_FREE_BYTES / 2**30:.0f}")


def _database(state_dir: Path) -> Iterator[Finding]:
    path = state_dir / "bitlm.db"
    if not path.exists():
        return
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)) as connection:
            fault = connection.execute("PRAGMA quick_check(1)").fetchone()[0]
            version = connection.execute("PRAGMA user_version").fetchone()[0]
            servers = connection.execute("SELECT COUNT(*) FROM servers").fetchone()[0]
    except sqlite3.Error as error:
        yield Finding("database", False, f"{error}: the next server sets it aside and indexes the folders anew")
        return
    good = fault == "ok" and version <= len(UPGRADES)
    yield Finding("database", good, f"{fault}, schema {version} of {len(UPGRADES)}, {servers} servers")


def _checkpoints(state_dir: Path) -> Iterator[Finding]:
    for what in ("models", "checkpoints"):
        store = CheckpointStore(state_dir / what)
        yield _whole(what, store.names(), lambda name, store=store: bool(store.verified(name)))  # type: ignore[misc]


def _datasets(state_dir: Path) -> Iterator[Finding]:
    store = DatasetStore(state_dir / "datasets")
    yield _whole("datasets", store.ids(), store.intact)


def _whole(what: str, names: list[str], intact: Callable[[str], bool]) -> Finding:
    damaged = []
    for name in names:
        try:
            good = intact(name)
        except BitLMError:
            good = False
        damaged += [] if good else [name]
    return Finding(what, not damaged, f"{len(names)}, " + (f"damaged: {', '.join(damaged)}" if damaged else "all whole"))
