"""Everything of one process put together: the one place where workspace, tools, resources and page meet."""

from __future__ import annotations

from bitlm_mcp.app import Assembly
from bitlm_mcp.dashboard.routes import dashboard_routes
from bitlm_mcp.housekeeping import Housekeeper
from bitlm_mcp.resources import register_resources
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.tools.checkpoints import checkpoint_tools
from bitlm_mcp.tools.data import data_tools
from bitlm_mcp.tools.inference import inference_tools
from bitlm_mcp.tools.models import model_tools
from bitlm_mcp.tools.telemetry import telemetry_tools
from bitlm_mcp.tools.training import training_tools
from bitlm_mcp.workspace import Workspace


def all_tools(workspace: Workspace) -> list[ToolSpec]:
    """Every tool, in the order in which an agent usually needs them."""
    return [
        *model_tools(workspace),
        *data_tools(workspace),
        *training_tools(workspace),
        *inference_tools(workspace),
        *telemetry_tools(workspace),
        *checkpoint_tools(workspace),
    ]


def assemble(settings: ServerSettings) -> Assembly:
    """The parts of one server process."""
    workspace = Workspace(settings)
    server = build_server(all_tools(workspace), register=[register_resources(workspace)])
    return Assembly(
        server=server,
        routes=dashboard_routes(workspace),
        background=[Housekeeper(workspace).run],
        on_stop=workspace.close,
    )
