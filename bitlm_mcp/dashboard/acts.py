"""What people can do from the page: all tools, by the tools' own door, and the upload of a file.

    GET  /api/session                whether anything may be changed, and how the request stands with the token
    GET  /api/tools                  all tools with the whole schemas of their arguments; with --read-only those that only read
    POST /api/tools/{name}           a call: 200 {"result": structured content} or 422 {"error": text, "names": [parameters]}
    PUT  /api/datasets/{dataset_id}  a file as a dataset: see `uploads`

The page is no agent: which toolsets agents are offered does not bind it, --read-only does. A page that goes away before its
call has ended cancels it, as a client of the protocol does that cancels its request.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mcp.server.mcpserver import Context
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bitlm_core import ConfigError
from bitlm_mcp.call_gate import CallGate
from bitlm_mcp.dashboard.page_calls import PageCalls, while_connected
from bitlm_mcp.dashboard.uploads import Uploads
from bitlm_mcp.dashboard.wire import TooLargeError, answer, body_within, failure, json_object, mistyped, refused
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.schemas import StrictTool, ToolSpec, build_tool
from bitlm_mcp.security import token_state
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.tools.waiting import off_loop
from bitlm_mcp.workspace import Workspace

MAX_ARGUMENTS = 4 << 20
"""As much as a call of an agent over HTTP may have."""


def act_routes(workspace: Workspace, specs: Sequence[ToolSpec], gate: CallGate) -> list[BaseRoute]:
    """The routes of this module, for the tools of `specs`, whose calls pass `gate`."""
    acts = _Acts(workspace, specs, PageCalls(gate, workspace))
    return [
        Route("/api/session", acts.session),
        Route("/api/tools", acts.tools),
        Route("/api/tools/{name:path}", acts.call, methods=["POST"]),
        Route("/api/datasets/{dataset_id:path}", acts.upload, methods=["PUT"]),
    ]


class _Acts:
    """The tools of one process, made when a page first asks for them."""

    def __init__(self, workspace: Workspace, specs: Sequence[ToolSpec], calls: PageCalls) -> None:
        self._settings: ServerSettings = workspace.settings
        self._specs = {spec.tool_name: spec for spec in specs}
        self._calls = calls
        self._uploads = Uploads(workspace, calls)
        self._made: Mapping[str, StrictTool] = {}

    async def session(self, request: Request) -> Response:
        """What this page may do."""
        return answer({"read_only": self._settings.read_only, "token": token_state(request)})

    async def tools(self, _: Request) -> Response:
        """All tools that may be called here."""
        made = await self._tools()
        return answer({"tools": [_about(spec, made[name]) for name, spec in self._specs.items() if self._allowed(spec)]})

    async def call(self, request: Request) -> Response:
        """Call a tool with the arguments of the body."""
        name = request.path_params["name"]
        if name not in self._specs:
            unknown = UnknownHandleError("tool", name, list(self._specs), "read /api/tools for what each takes")
            return failure(404, unknown.message)
        if refusal := mistyped(request) if self._allowed(self._specs[name]) else refused(request, self._settings):
            return refusal
        tool = (await self._tools())[name]
        try:
            arguments = json_object(await body_within(request, MAX_ARGUMENTS))
        except TooLargeError as error:
            return failure(413, error.message)
        except ConfigError as error:
            return failure(422, error.message, names=[])

        async def act(context: Context[Any, Any]) -> Any:
            return await tool.run(arguments, context, convert_result=True)

        return await while_connected(
            request, lambda: self._calls.make(request, name, arguments, tool.checked["properties"], act)
        )

    async def upload(self, request: Request) -> Response:
        """Store the body as a dataset."""
        return await self._uploads.take(request, (await self._tools())["add_dataset"])

    def _allowed(self, spec: ToolSpec) -> bool:
        return spec.read_only or not self._settings.read_only

    async def _tools(self) -> Mapping[str, StrictTool]:
        if not self._made:
            self._made = await off_loop(lambda: {name: build_tool(spec) for name, spec in self._specs.items()})
        return self._made


def _about(spec: ToolSpec, tool: StrictTool) -> dict[str, Any]:
    return {
        "name": spec.tool_name,
        "title": spec.title,
        "description": spec.description,
        "read_only": spec.read_only,
        "destructive": spec.destructive,
        "toolset": spec.toolset,
        "schema": tool.checked,
    }
