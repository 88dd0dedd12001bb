"""Resources: the same snapshot that the tools read, for hosts that attach or subscribe to it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from mcp.server import MCPServer

from bitlm_mcp.errors import resource_errors
from bitlm_mcp.results import compact_text
from bitlm_mcp.tools.telemetry import telemetry_result
from bitlm_mcp.workspace import Workspace

TELEMETRY_POINTS = 50


def register_resources(workspace: Workspace) -> Callable[[MCPServer[Any]], None]:
    """A callback that adds the resources of a workspace to a server."""

    def register(server: MCPServer[Any]) -> None:
        @server.resource(
            "bitlm://status",
            name="status",
            title="State of the server",
            description="Models, jobs, datasets and checkpoints, as JSON.",
            mime_type="application/json",
        )
        async def status() -> str:
            return compact_text(workspace.snapshot.summary())

        @server.resource(
            "bitlm://models/{model_id}/telemetry",
            name="telemetry",
            title="Telemetry of a model",
            description="Loss, bits per byte, K, C, S and their recent history, as JSON.",
            mime_type="application/json",
        )
        async def telemetry(model_id: str) -> str:
            with resource_errors():
                return compact_text(telemetry_result(workspace, model_id, TELEMETRY_POINTS, None).model_dump(mode="json"))

    return register
