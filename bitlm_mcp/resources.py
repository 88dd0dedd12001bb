"""Resources: the same snapshot that the tools read, for hosts that attach, list or subscribe to it.

bitlm://status                                    models, jobs, datasets and checkpoints, briefly
bitlm://checkpoints                               the saved checkpoints
bitlm://metrics-guide                             what the numbers mean
bitlm://guide/{topic}                             a page of the guide; all of them are listed
bitlm://models/{model_id}                         one model: sizes, settings, where it stands
bitlm://models/{model_id}/telemetry{?since,limit} its curve
bitlm://models/{model_id}/alerts                  its latest alerts; subscribers hear of new ones alone
bitlm://jobs/{job_id}                             one job
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mcp.server import MCPServer
from mcp.server.context import ServerRequestContext
from mcp.shared.exceptions import MCPError
from mcp_types import INVALID_PARAMS, ListResourcesResult, PaginatedRequestParams, Resource

from bitlm_core import ConfigError
from bitlm_mcp.errors import resource_errors
from bitlm_mcp.guide.pages import Page, page, pages
from bitlm_mcp.results import compact_text
from bitlm_mcp.server_internals import low_level
from bitlm_mcp.tools.job_results import job_result
from bitlm_mcp.tools.telemetry import telemetry_result
from bitlm_mcp.tools.waiting import off_loop
from bitlm_mcp.workspace import Workspace

STATUS, CHECKPOINTS, GUIDE = "bitlm://status", "bitlm://checkpoints", "bitlm://metrics-guide"
DEFAULT_POINTS = 50
MAX_POINTS = 500
PAGE = 100
JSON, MARKDOWN = "application/json", "text/markdown"


def model_uri(model_id: str) -> str:
    """The resource of a model."""
    return f"bitlm://models/{model_id}"


def telemetry_uri(model_id: str) -> str:
    """The resource of a model's curve."""
    return f"bitlm://models/{model_id}/telemetry"


def alerts_uri(model_id: str) -> str:
    """The resource of a model's alerts."""
    return f"bitlm://models/{model_id}/alerts"


def job_uri(job_id: str) -> str:
    """The resource of a job."""
    return f"bitlm://jobs/{job_id}"


def register_resources(workspace: Workspace) -> Callable[[MCPServer[Any]], None]:
    """A callback that adds the resources of a workspace to a server."""

    def register(server: MCPServer[Any]) -> None:
        _register_fixed(server, workspace)
        _register_templates(server, workspace)
        listed, guide = server.list_resources, [_page_resource(found) for found in pages().values()]

        async def list_resources(
            _: ServerRequestContext[Any, Any], params: PaginatedRequestParams | None
        ) -> ListResourcesResult:
            models = [_model_resource(model_id) for model_id in sorted(workspace.snapshot.models)]
            return page_of([*await listed(), *guide, *models], params.cursor if params else None)

        # The SDK lists what was registered at the start; models come and go.
        low_level(server).add_request_handler("resources/list", PaginatedRequestParams, list_resources)

    return register


def _register_fixed(server: MCPServer[Any], workspace: Workspace) -> None:
    @server.resource(
        STATUS,
        name="status",
        title="State of the server",
        description="Models, jobs, datasets and checkpoints, as JSON.",
        mime_type=JSON,
    )
    async def status() -> str:
        return compact_text(workspace.snapshot.summary())

    @server.resource(
        CHECKPOINTS,
        name="checkpoints",
        title="Saved checkpoints",
        description="Names, models, steps, sizes and digests of all checkpoints, as JSON.",
        mime_type=JSON,
    )
    async def checkpoints() -> str:
        return compact_text([asdict(view) for view in workspace.snapshot.checkpoints.values()])

    @server.resource(
        GUIDE,
        name="metrics-guide",
        title="What the numbers mean",
        description="Bits per byte, loss, K, C, S and alerts: what they are, and what to do about them.",
        mime_type=MARKDOWN,
    )
    async def metrics_guide() -> str:
        return (Path(__file__).parent / "metrics_guide.md").read_text("utf-8")


def _register_templates(server: MCPServer[Any], workspace: Workspace) -> None:
    @server.resource(
        "bitlm://guide/{topic}",
        name="guide",
        title="A page of the guide",
        description="How one part of bitlm is used, and what it does not do, as Markdown.",
        mime_type=MARKDOWN,
    )
    async def guide(topic: str) -> str:
        with resource_errors():
            return page(topic).linked("bitlm://guide")

    @server.resource(
        "bitlm://models/{model_id}",
        name="model",
        title="One model",
        description="A model's sizes, settings and where it stands, as JSON.",
        mime_type=JSON,
    )
    async def model(model_id: str) -> str:
        with resource_errors():
            view = workspace.model(model_id)
            return compact_text(view.summary() | {"config": view.config, "holder": view.holder})

    @server.resource(
        "bitlm://models/{model_id}/telemetry{?since,limit}",
        name="telemetry",
        title="Telemetry of a model",
        description="Loss, bits per byte, K, C, S and their history, as JSON: the last points, or those after a step.",
        mime_type=JSON,
    )
    async def telemetry(model_id: str, since: str = "", limit: str = "") -> str:
        with resource_errors():
            step = _whole("since", since, 0, 2**53) if since else None
            points = _whole("limit", limit, 0, MAX_POINTS) if limit else DEFAULT_POINTS
            found = telemetry_result(workspace, model_id, points, step, full=True)
            return compact_text(found.model_dump(mode="json", exclude_none=True))

    @server.resource(
        "bitlm://models/{model_id}/alerts",
        name="alerts",
        title="Alerts of a model",
        description="Its latest alerts, the newest last, as JSON. Subscribe to hear when a metric drifts.",
        mime_type=JSON,
    )
    async def alerts(model_id: str) -> str:
        with resource_errors():
            view = workspace.model(model_id)
            return compact_text({"model_id": model_id, "step": view.step, "alerts": list(view.alerts)})

    @server.resource(
        "bitlm://jobs/{job_id}",
        name="job",
        title="One job",
        description="A job's status, progress and result, as JSON.",
        mime_type=JSON,
    )
    async def job(job_id: str) -> str:
        with resource_errors():
            view = await off_loop(workspace.job, job_id)
            return compact_text(job_result(workspace, view).model_dump(mode="json", exclude_none=True))


def page_of(resources: list[Resource], cursor: str | None) -> ListResourcesResult:
    """One page of a list, and the cursor of the next. Raises MCPError for a cursor that is none of ours."""
    start = 0
    if cursor is not None:
        try:
            start = int(base64.urlsafe_b64decode(cursor.encode("ascii")).decode("ascii"))
        except (ValueError, binascii.Error):
            start = -1
        if not 0 < start < len(resources) + PAGE:
            raise MCPError(INVALID_PARAMS, "the cursor is not one that resources/list returned: begin again without one")
    after = start + PAGE
    following = base64.urlsafe_b64encode(str(after).encode()).decode() if after < len(resources) else None
    return ListResourcesResult(resources=resources[start:after], next_cursor=following)


def _page_resource(found: Page) -> Resource:
    return Resource(
        uri=f"bitlm://guide/{found.topic}",
        name=f"guide {found.topic}",
        title=found.title,
        description=found.about,
        mime_type=MARKDOWN,
    )


def _model_resource(model_id: str) -> Resource:
    return Resource(
        uri=model_uri(model_id),
        name=f"model {model_id}",
        title=f"Model {model_id}",
        description="A model's sizes, settings and where it stands, as JSON.",
        mime_type=JSON,
    )


def _whole(name: str, text: str, low: int, high: int) -> int:
    if not (text.isascii() and text.isdigit() and len(text) <= 16 and low <= int(text) <= high):
        raise ConfigError(f"{name} is {text[:40]!r}: give a whole number from {low:,} to {high:,}, without separators")
    return int(text)
