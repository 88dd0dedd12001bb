"""`bitlm bench serve --processes N`: calls per second of one server process, and of N on one state directory, in turn.

Real processes over HTTP; the calls are of the protocol's modern era, and each goes to the next process, as a proxy would pass
them on: what a proxy itself costs is left out. Callers and servers share this machine, and its cores are the limit.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from itertools import cycle
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp_types.version import LATEST_MODERN_VERSION

from bitlm_core import BitLMError

CALLERS = 8
MODEL = "asked"
TINY = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "context_mixing": False}
ASKED: dict[str, dict[str, Any]] = {"list_models": {}, "infer": {"model_id": MODEL, "prompt": "a", "max_new_bytes": 8}}


@dataclass(frozen=True)
class FleetReport:
    """Calls per second of `CALLERS` callers at once: of one process, and of `processes`."""

    processes: int
    list_models_per_s_one: float
    list_models_per_s_all: float
    infer_per_s_one: float
    infer_per_s_all: float

    def flat(self) -> dict[str, float | int]:
        """For the last line, as JSON."""
        return {name: round(value, 2) for name, value in asdict(self).items()}


async def measure_fleet(processes: int, seconds: float, environment: dict[str, str]) -> FleetReport:
    """Measure each for so many seconds. Raises BitLMError where a server does not start, or refuses a call."""
    with tempfile.TemporaryDirectory(prefix="bitlm-bench-") as scratch, ExitStack() as stack:
        urls = [stack.enter_context(_server(Path(scratch), number, environment)) for number in range(processes)]
        async with httpx2.AsyncClient(timeout=600) as http:
            await _call(http, urls[0], "init_model", {"model_id": MODEL, **TINY})
            for url in urls:  # what each loads when it is first asked
                await _call(http, url, "infer", ASKED["infer"])
            found = {}
            for tool in ASKED:
                for name, some in (("one", urls[:1]), ("all", urls)):
                    found[f"{tool}_per_s_{name}"] = await _calls_per_second(http, some, tool, seconds)
    return FleetReport(processes=processes, **found)


async def _calls_per_second(http: httpx2.AsyncClient, urls: list[str], tool: str, seconds: float) -> float:
    made, turns, began = 0, cycle(urls), time.monotonic()

    async def caller() -> None:
        nonlocal made
        while time.monotonic() - began < seconds:
            await _call(http, next(turns), tool, ASKED[tool])
            made += 1

    async with anyio.create_task_group() as group:
        for _ in range(CALLERS):
            group.start_soon(caller)
    return made / (time.monotonic() - began)


async def _call(http: httpx2.AsyncClient, url: str, tool: str, arguments: dict[str, Any]) -> None:
    about = {
        "protocolVersion": LATEST_MODERN_VERSION,
        "clientInfo": {"name": "bench", "version": "0"},
        "clientCapabilities": {},
    }
    meta = {f"io.modelcontextprotocol/{name}": value for name, value in about.items()}
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": tool, "arguments": arguments, "_meta": meta}}
    headers = {"accept": "application/json, text/event-stream", "mcp-protocol-version": LATEST_MODERN_VERSION}
    answer = await http.post(f"{url}/mcp", json=body, headers=headers | {"mcp-method": "tools/call", "mcp-name": tool})
    if answer.status_code != 200 or '"isError":true' in answer.text or '"error":{' in answer.text:
        raise BitLMError(f"{tool} was refused ({answer.status_code}): {answer.text[:500]}")


@contextmanager
def _server(folder: Path, number: int, environment: dict[str, str]) -> Iterator[str]:
    """One process, by its address, for as long as the block lasts."""
    command = [sys.executable, "-m", "bitlm_mcp", "serve", "--http", "--port", "0", "--threads", "1"]
    command += ["--state-dir", str(folder / "state"), "--calls-per-second", "1000000", "--max-wait-s", "600"]
    told = folder / f"{number}.log"
    with told.open("w") as log, subprocess.Popen(command, stderr=log, env=environment) as process:  # noqa: S603 - our own
        try:
            while not (found := re.search(r"listening on (\S+)", told.read_text())):
                if process.poll() is not None:
                    raise BitLMError(f"a server did not start: {told.read_text()[-500:]}")
                time.sleep(0.02)
            yield found[1]
        finally:
            process.terminate()
