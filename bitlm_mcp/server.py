"""The MCP server object: identity, instructions, tools, and whatever the registrars add.

Nothing here knows a transport or a model. Tools arrive as specifications, resources and prompts through
callbacks, and all of them reach the workspace by closure.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Sequence
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from mcp.server import MCPServer
from mcp.server.caching import CacheHint
from mcp.server.context import ServerMiddleware
from mcp.server.extension import Extension
from mcp.server.request_state import RequestStateSecurity
from mcp.server.subscriptions import SubscriptionBus
from mcp_types import Icon

from bitlm_mcp.schemas import SchemaError, ToolSpec, build_tool

NAME = "bitlm"
TITLE = "bitlm: language models at the level of bits"
INSTRUCTIONS = """\
bitlm trains small models on any data, bit by bit, and measures what they learn. The usual order:
1. add_dataset: name the data, get a dataset_id.
2. init_model: choose an architecture and sizes, get a model_id.
3. train_step: train on the dataset. If the answer has a job_id the work goes on in the background: call wait_job \
with it until the status is final. One call may answer before the job ends; calling again is normal.
4. score or infer: bits per byte (lower is better), or generated data.
5. save_checkpoint: keep the model under a name; load_checkpoint brings it back.
Ids are handles: pass them on exactly as given, never make one up. Errors say what to do next. A result's \
"next" field names the call that usually follows.
"""

# A square wave: bits, readable at 16 pixels. It travels with every answer of the modern era, so it is short.
_ICON_SVG = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 8 8'><path fill='none' stroke='#f90' d='M0 6h2V2h2v4h2V2h2'/></svg>"
)
_LIST_CACHE = CacheHint(ttl_ms=300_000, scope="public")

Register = Callable[[MCPServer[Any]], None]


def package_version() -> str:
    """The installed version; a source tree that was never installed has none."""
    try:
        return version(NAME)
    except PackageNotFoundError:
        return "0+unknown"


def icon() -> Icon:
    """The icon as a data URL, so that showing it needs no network."""
    data = base64.b64encode(_ICON_SVG.encode()).decode()
    return Icon(src=f"data:image/svg+xml;base64,{data}", mime_type="image/svg+xml", sizes=["any"])


def build_server(
    tools: Sequence[ToolSpec],
    *,
    register: Sequence[Register] = (),
    subscriptions: SubscriptionBus | None = None,
    extensions: Sequence[Extension] = (),
    middleware: Sequence[ServerMiddleware[Any]] = (),
    state_key: bytes | None = None,
) -> MCPServer[Any]:
    """The server with its tools; each `register` callback then adds resources, prompts or completions.

    state_key: of at least 32 bytes, seals what a client brings back with the answer to a question; servers that share it take
    each other's questions back. None: a key of this process.
    """
    names = [spec.tool_name for spec in tools]
    if len(set(names)) != len(names):
        raise SchemaError(f"two tools share a name: {', '.join(sorted({n for n in names if names.count(n) > 1}))}")
    server: MCPServer[Any] = MCPServer(
        NAME,
        title=TITLE,
        version=package_version(),
        instructions=INSTRUCTIONS,
        icons=[icon()],
        tools=[build_tool(spec) for spec in tools],
        extensions=list(extensions),
        subscriptions=subscriptions,
        middleware=list(middleware),
        request_state_security=RequestStateSecurity(keys=[state_key]) if state_key else None,
        # Within one process these lists never change.
        cache_hints={"tools/list": _LIST_CACHE, "prompts/list": _LIST_CACHE},
        log_level="WARNING",
    )
    for add in register:
        add(server)
    return server
