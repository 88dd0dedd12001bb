"""`bitlm bench serve`: what this server costs beyond the SDK it is made with, in process CPU time.

Both sides run in one process, on one event loop, in turns: a tool of the SDK that does nothing, and the same function behind
our checks of arguments, both channels, the gate, the log and the metrics. The start is that of a real process.
"""

from __future__ import annotations

import platform
import statistics
import sys
import tempfile
import time
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from mcp import Client
from mcp.client.stdio import StdioServerParameters
from mcp.server import MCPServer
from pydantic import BaseModel

from bitlm_mcp.activity import Call
from bitlm_mcp.assembly import assemble
from bitlm_mcp.call_gate import CallGate, CallLog
from bitlm_mcp.doctor import started
from bitlm_mcp.monitoring import Monitoring
from bitlm_mcp.results import Result
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.server import build_server, package_version
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.workspace import Workspace

CALLS_PER_TURN = 100


@dataclass(frozen=True)
class ServeReport:
    """CPU milliseconds of client and server together per call, medians over the turns; CPU seconds of a start."""

    sdk_ms: float
    ours_ms: float
    overhead_ms: float
    list_models_ms: float
    list_jobs_ms: float
    start_to_end_cpu_s: float
    tools_list_bytes: int
    turns: int
    calls: int
    python: str
    bitlm: str
    machine: str

    def flat(self) -> dict[str, float | int | str]:
        """For the last line, as JSON."""
        return {name: round(value, 4) if isinstance(value, float) else value for name, value in asdict(self).items()}


class _Plain(BaseModel):
    done: bool


class _Done(Result):
    done: bool


async def measure_serving(turns: int, environment: dict[str, str]) -> ServeReport:
    """Measure; takes about a tenth of a second per turn. Raises what starting a server raises."""
    with tempfile.TemporaryDirectory(prefix="bitlm-bench-") as scratch:
        settings = ServerSettings(state_dir=Path(scratch) / "state", calls_per_second=1e6)
        whole = assemble(settings)
        workspace = Workspace(settings)
        try:
            async with AsyncExitStack() as stack:
                clients = {
                    "sdk": await stack.enter_async_context(Client(_sdk_alone())),
                    "ours": await stack.enter_async_context(Client(_ours(workspace))),
                    "whole": await stack.enter_async_context(Client(whole.server)),
                }
                sides = [("sdk", "nothing"), ("ours", "nothing"), ("whole", "list_models"), ("whole", "list_jobs")]
                costs: dict[tuple[str, str], list[float]] = {side: [] for side in sides}
                for client in clients.values():
                    await client.list_tools()
                for _ in range(turns):
                    for client_name, tool in sides:
                        costs[client_name, tool].append(await _turn(clients[client_name], tool))
        finally:
            workspace.close()
            whole.on_stop()
        command = ["-m", "bitlm_mcp", "serve", "--state-dir", str(Path(scratch) / "started")]
        start = await started(StdioServerParameters(command=sys.executable, args=command, env=environment))
    sdk, ours, models, jobs = (statistics.median(costs[side]) for side in sides)
    return ServeReport(
        sdk_ms=sdk,
        ours_ms=ours,
        overhead_ms=statistics.median(b - a for a, b in zip(costs["sdk", "nothing"], costs["ours", "nothing"], strict=True)),
        list_models_ms=models,
        list_jobs_ms=jobs,
        start_to_end_cpu_s=start.cpu_s,
        tools_list_bytes=start.tools_list_bytes,
        turns=turns,
        calls=turns * CALLS_PER_TURN,
        python=platform.python_version(),
        bitlm=package_version(),
        machine=f"{platform.machine()}, {platform.system()}",
    )


async def _turn(client: Client, tool: str) -> float:
    """CPU milliseconds per call."""
    began = time.process_time()
    for _ in range(CALLS_PER_TURN):
        await client.call_tool(tool, {})
    return 1000 * (time.process_time() - began) / CALLS_PER_TURN


def _sdk_alone() -> MCPServer[None]:
    server: MCPServer[None] = MCPServer("empty")

    @server.tool()
    async def nothing() -> _Plain:
        """Do nothing, and say that it is done."""
        return _Plain(done=True)

    return server


def _ours(workspace: Workspace) -> MCPServer[None]:
    async def nothing() -> _Done:
        """Do nothing, and say that it is done."""
        return _Done(done=True)

    log, monitoring = CallLog(), Monitoring(workspace, ["nothing"])

    def observed(call: Call) -> None:
        log.add(call)
        monitoring.observe(call)

    spec = ToolSpec(nothing, "Nothing", read_only=True, destructive=False, idempotent=True)
    return build_server([spec], middleware=[CallGate(1e6, observed)])
