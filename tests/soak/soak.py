"""`make soak`: 24 clients on all transports call one state directory while a training runs; the last line is JSON.

The server over HTTP has 20 clients (streamable HTTP in both protocol eras, and SSE); four more have servers of their own over
stdio, on the same directory. First all call while nothing is trained, then the same calls go on beside a training. The exit
code is 1 when a bound is missed: no error, memory growth ≤ 2 %, event loop lag p99 ≤ 50 ms, get_telemetry p50 ≤ 2 × idle.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import anyio
import anyio.to_thread
import httpx2
from mcp import Client
from mcp.client.sse import sse_client
from mcp.client.stdio import StdioServerParameters, stdio_client
from mcp.client.streamable_http import streamable_http_client

KINDS = ("http legacy",) * 7 + ("http modern",) * 7 + ("sse legacy",) * 6 + ("stdio legacy",) * 2 + ("stdio modern",) * 2
MODES = {"legacy": "legacy", "modern": "auto"}
PAUSE_S = 0.5
"""Between two calls of a client, on average: an agent's model must think, too."""

IDLE_SHARE, WARM_SHARE = 0.15, 0.25
MAX_GROWTH, MAX_LAG_S, MAX_RATIO = 0.02, 0.05, 2.0
TINY = {"preset": "tiny", "context_mixing": False}


@dataclass
class Seen:
    """What the clients have met with in one phase."""

    calls: Counter[str] = field(default_factory=Counter)
    errors: list[str] = field(default_factory=list)
    telemetry_s: list[float] = field(default_factory=list)


class Soak:
    """One server over HTTP, its clients, and what they do."""

    def __init__(self, folder: Path, seconds: float, seed: int, options: list[str]) -> None:
        self.folder, self.seconds, self.seed = folder, seconds, seed
        self.seen = Seen()
        self.job_id = ""
        self._log = (folder / "log").open("wb")
        self._arguments = ["-m", "bitlm_mcp", "serve", "--state-dir", str(folder / "state"), "--calls-per-second", "1000"]
        command = [sys.executable, *self._arguments, "--http", "--port", "0", "--autosave-s", "10", *options]
        self.server = subprocess.Popen(command, stderr=self._log, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)

    async def run(self) -> dict[str, Any]:
        """All phases; the report."""
        address = await self._address()
        async with AsyncExitStack() as stack:
            clients = [await stack.enter_async_context(self._client(kind, address)) for kind in KINDS]
            await self._prepare(clients[0])
            await self._phase(clients, 0.25 * IDLE_SHARE)
            self.seen = idle = Seen()
            await self._phase(clients, 0.75 * IDLE_SHARE)
            self.seen = busy = Seen()
            data = {"model_id": "trained", "dataset_id": "text", "seconds": 2 * self.seconds, "wait_s": 0}
            self.job_id = str((await self._call(clients[0], "train_step", data))["job_id"])
            await self._phase(clients, WARM_SHARE)
            lag, memory = await self._lags(address), self._memory()
            await self._phase(clients, 1 - IDLE_SHARE - WARM_SHARE)
            late, grown = await self._lags(address), self._memory()
            job = await self._call(clients[0], "cancel_job", {"job_id": self.job_id})
        return self._report(idle, busy, {bound: late[bound] - lag[bound] for bound in late}, memory, grown, job)

    def stop(self) -> int:
        """End the server; its exit code."""
        self.server.terminate()
        code = self.server.wait(30)
        self._log.close()
        return code

    # Clients

    @asynccontextmanager
    async def _client(self, kind: str, address: str) -> AsyncIterator[Client]:
        transport, era = kind.split()
        if transport == "http":
            how: Any = streamable_http_client(f"{address}/mcp")
        elif transport == "sse":
            how = sse_client(f"{address}/sse")
        else:
            environment = dict(os.environ) | {"OMP_NUM_THREADS": "1"}
            how = stdio_client(StdioServerParameters(command=sys.executable, args=self._arguments, env=environment))
        async with Client(how, mode=MODES[era]) as client:
            yield client

    async def _prepare(self, client: Client) -> None:
        text = "The quick brown fox jumps over the lazy dog, and then once more, for good measure. " * 3000
        await self._call(client, "add_dataset", {"dataset_id": "text", "text": text})
        for name in ("trained", "asked"):
            await self._call(client, "init_model", {"model_id": name, **TINY})
        await anyio.sleep(1.5)  # until the other servers have looked

    async def _phase(self, clients: list[Client], share: float) -> None:
        """Let all clients call for a part of the time."""
        until = anyio.current_time() + share * self.seconds
        async with anyio.create_task_group() as group:
            for number, client in enumerate(clients):
                group.start_soon(self._calls, client, random.Random(f"{self.seed}/{number}/{share}"), until)

    async def _calls(self, client: Client, rng: random.Random, until: float) -> None:
        while anyio.current_time() < until:
            await anyio.sleep(min(rng.expovariate(1 / PAUSE_S), 5 * PAUSE_S))
            tool, arguments = rng.choice(
                [
                    ("get_telemetry", {"model_id": "trained"}),
                    ("get_telemetry", {"model_id": "trained"}),
                    ("get_telemetry", {"model_id": "trained"}),
                    ("list_models", {}),
                    ("list_jobs", {}),
                    ("infer", {"model_id": "asked", "prompt": "The quick ", "max_new_bytes": 8}),
                    ("wait_job", {"job_id": self.job_id, "wait_s": 0.2}) if self.job_id else ("list_jobs", {}),
                ]
            )
            try:
                began = time.perf_counter()
                await self._call(client, tool, arguments)
                if tool == "get_telemetry":
                    self.seen.telemetry_s.append(time.perf_counter() - began)
                if rng.random() < 0.1:
                    await client.read_resource("bitlm://status")
            except Exception as error:
                self.seen.errors.append(f"{tool}: {type(error).__name__}: {error}")

    async def _call(self, client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        answer = await client.call_tool(tool, arguments)
        self.seen.calls[tool] += 1
        if answer.is_error or answer.structured_content is None:
            raise RuntimeError(f"{tool} refused: {answer.content}")
        return answer.structured_content

    # The server

    async def _address(self) -> str:
        for _ in range(3000):
            if found := re.search(r"listening on (http://\S+)", (self.folder / "log").read_text()):
                return found[1]
            if self.server.poll() is not None:
                break
            await anyio.sleep(0.02)
        raise RuntimeError("the server did not start: " + (self.folder / "log").read_text())

    def _memory(self) -> int:
        """Resident bytes of the server and its compute process."""
        pids = [self.server.pid]
        for task in Path(f"/proc/{self.server.pid}/task").iterdir():
            pids += [int(pid) for pid in (task / "children").read_text().split()]
        return sum(
            1024 * int(line.split()[1])
            for pid in pids
            for line in Path(f"/proc/{pid}/status").read_text().splitlines()
            if line.startswith("VmRSS")
        )

    async def _lags(self, address: str) -> dict[float, float]:
        """How often the event loop was at most so late, by seconds."""
        async with httpx2.AsyncClient(timeout=30) as http:
            text = (await http.get(f"{address}/metrics")).text
        found = re.findall(r'bitlm_event_loop_lag_seconds_bucket\{le="([^"]+)"\} (\S+)', text)
        return {float(bound): float(count) for bound, count in found}

    def _report(
        self, idle: Seen, busy: Seen, lags: dict[float, float], memory: int, grown: int, job: dict[str, Any]
    ) -> dict[str, Any]:
        total = lags[float("inf")]
        errors = idle.errors + busy.errors
        p50_idle, p50_busy = (1000 * statistics.median(seen.telemetry_s) for seen in (idle, busy))
        return {
            "clients": len(KINDS),
            "seconds": self.seconds,
            "calls": (idle.calls + busy.calls).total(),
            "errors": len(errors),
            "first_errors": errors[:3],
            "steps_trained": job["steps_done"],
            "memory_mib": round(memory / 2**20, 1),
            "memory_growth": round(grown / memory - 1, 4),
            "lag_p99_at_most_s": min(bound for bound, count in lags.items() if count >= 0.99 * total),
            "lag_samples": int(total),
            "telemetry_p50_idle_ms": round(p50_idle, 2),
            "telemetry_p50_busy_ms": round(p50_busy, 2),
            "telemetry_p50_ratio": round(p50_busy / p50_idle, 3),
            "seed": self.seed,
            "python": platform.python_version(),
            "cpus": os.cpu_count(),
        }


def missed(report: dict[str, Any]) -> list[str]:
    """The bounds that a report does not keep."""
    bounds = {
        "errors": 0,
        "memory_growth": MAX_GROWTH,
        "lag_p99_at_most_s": MAX_LAG_S,
        "telemetry_p50_ratio": MAX_RATIO,
    }
    return [f"{name} is {report[name]}, the bound is {bound}" for name, bound in bounds.items() if report[name] > bound]


def main() -> int:
    """Run it, print the report, and say by the exit code whether all bounds were kept."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=1)
    arguments, options = parser.parse_known_args()
    with tempfile.TemporaryDirectory(prefix="bitlm-soak-") as folder:
        soak = Soak(Path(folder), arguments.seconds, arguments.seed, options)
        try:
            report = anyio.run(soak.run)
        finally:
            code = soak.stop()
    report["exit_code"] = code
    wrong = missed(report) + ([f"the server ended with {code}"] if code else [])
    for line in wrong:
        print(line, file=sys.stderr)
    print(json.dumps(report))
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
