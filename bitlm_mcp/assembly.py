"""Everything of one process put together: the one place where workspace, tools, resources and page meet."""

from __future__ import annotations

from dataclasses import replace

from bitlm_core import ConfigError
from bitlm_mcp.activity import Call
from bitlm_mcp.app import Assembly
from bitlm_mcp.call_gate import CallGate, CallLog
from bitlm_mcp.completions import register_completions
from bitlm_mcp.dashboard.acts import act_routes
from bitlm_mcp.dashboard.live import Live
from bitlm_mcp.dashboard.routes import dashboard_routes
from bitlm_mcp.extensions.apps import app_uri, apps
from bitlm_mcp.extensions.job_tasks import POLICIES, job_tasks
from bitlm_mcp.extensions.tasks import Tasks
from bitlm_mcp.freshness import catching_up
from bitlm_mcp.housekeeping import Housekeeper
from bitlm_mcp.monitoring import Monitoring
from bitlm_mcp.notifications import Notifications
from bitlm_mcp.prompts import prompt_errors, register_prompts
from bitlm_mcp.resources import register_resources
from bitlm_mcp.schemas import ToolSpec
from bitlm_mcp.server import build_server
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.tools.checkpoints import checkpoint_tools
from bitlm_mcp.tools.compression import compression_tools
from bitlm_mcp.tools.data import data_tools
from bitlm_mcp.tools.distilling import distilling_tools
from bitlm_mcp.tools.growth import growth_tools
from bitlm_mcp.tools.hub import hub_tools
from bitlm_mcp.tools.inference import inference_tools
from bitlm_mcp.tools.models import model_tools
from bitlm_mcp.tools.patches import patch_tools
from bitlm_mcp.tools.quantization import quantization_tools
from bitlm_mcp.tools.repair import repair_tools
from bitlm_mcp.tools.safety import safety_tools
from bitlm_mcp.tools.surprise import surprise_tools
from bitlm_mcp.tools.telemetry import telemetry_tools
from bitlm_mcp.tools.training import training_tools
from bitlm_mcp.workspace import Workspace

TUNING = frozenset({"set_telemetry", "calibrate_floors", "inspect_patches", "scale_model", "distill_model", "quantize_model"})
"""The set `tuning`: for whoever adjusts how models cut, are watched and judged, or makes models of models. It is offered when
it is asked for, and lists the rare parameters of all tools, so that the list that every host reads stays short."""
ASKED_FOR = frozenset({"tuning", "hub"})
"""Sets that are offered when they are asked for. `hub` reaches beyond this machine, so there it binds the page too."""


def all_tools(workspace: Workspace) -> list[ToolSpec]:
    """Every tool, in the order in which an agent usually needs them."""
    sets: dict[str, list[ToolSpec]] = {
        "models": [
            *model_tools(workspace),
            *growth_tools(workspace),
            *distilling_tools(workspace),
            *quantization_tools(workspace),
        ],
        "data": data_tools(workspace),
        "training": training_tools(workspace),
        "inference": [
            *inference_tools(workspace),
            *surprise_tools(workspace),
            *repair_tools(workspace),
            *safety_tools(workspace),
        ],
        "compression": compression_tools(workspace),
        "telemetry": [*telemetry_tools(workspace), *patch_tools(workspace)],
        "checkpoints": checkpoint_tools(workspace),
        "hub": hub_tools(workspace),
    }
    specs = [replace(spec, toolset=name, ui=app_uri(spec.tool_name)) for name, found in sets.items() for spec in found]
    return [replace(spec, toolset="tuning") if spec.tool_name in TUNING else spec for spec in specs]


def offered_tools(workspace: Workspace) -> list[ToolSpec]:
    """The tools that the settings choose. Raises ConfigError for a tool that there is not."""
    settings, specs = workspace.settings, all_tools(workspace)
    unknown = sorted(set(settings.tools) - {spec.tool_name for spec in specs})
    if unknown:
        raise ConfigError(f"there is no tool {', '.join(unknown)}: the tools are {', '.join(spec.tool_name for spec in specs)}")
    chosen = settings.toolsets or settings.tools

    def offered(spec: ToolSpec) -> bool:
        if not chosen:
            return spec.toolset not in ASKED_FOR
        return "all" in settings.toolsets or spec.toolset in settings.toolsets or spec.tool_name in settings.tools

    rare = not {"all", "tuning"}.isdisjoint(settings.toolsets)
    found = [spec for spec in specs if offered(spec) and (spec.read_only or not settings.read_only)]
    return [replace(spec, lists_rare=rare) for spec in found]


def assemble(settings: ServerSettings) -> Assembly:
    """The parts of one server process. Raises DatabaseError when the state directory cannot be used."""
    workspace, calls = Workspace(settings), CallLog()
    everything, tools = all_tools(workspace), offered_tools(workspace)
    offered = {spec.tool_name for spec in tools}
    monitoring = Monitoring(workspace, [spec.tool_name for spec in everything])

    def observed(call: Call) -> None:
        calls.add(call)
        monitoring.observe(call)

    gate, notifications = CallGate(settings.calls_per_second, observed), Notifications(workspace)
    tasks = Tasks(POLICIES, job_tasks(workspace))
    server = build_server(
        tools,
        register=[register_resources(workspace), register_prompts, register_completions(workspace), notifications.register],
        subscriptions=notifications.bus,
        extensions=[tasks, *apps(tools)],
        middleware=[catching_up(workspace), gate, prompt_errors],
        state_key=workspace.records.key("requestState"),
    )
    housekeeper = Housekeeper(workspace, calls)

    def stop() -> None:
        housekeeper.record_calls()
        workspace.close()

    live = Live(workspace)

    def leave() -> None:
        workspace.leave()
        live.stop()

    acts = act_routes(workspace, [spec for spec in everything if spec.toolset != "hub" or spec.tool_name in offered], gate)
    routes = [*dashboard_routes(workspace), *live.routes(), *acts, *monitoring.routes()]
    background = [housekeeper.run, notifications.run, monitoring.watch_loop, tasks.run, live.run]
    return Assembly(server=server, routes=routes, background=background, on_leave=leave, on_stop=stop)
