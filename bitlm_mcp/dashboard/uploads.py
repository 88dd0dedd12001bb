"""A file from the page as a dataset: PUT /api/datasets/{dataset_id}?filename&records&holdout_fraction&overwrite.

The body is the file's bytes (application/octet-stream). All that can be refused is refused before it is read; then it goes
into a file without a name in the state directory as it comes, and from there the way of all datasets. Nothing of it stays in
memory, and nothing on the disk when the page goes away, the disk is full, or it turns out too large. It is a call of
add_dataset: the same checks, the same limit, the same record.

201 {"result": as add_dataset} | 422 {"error", "names"} | 413 | 415 | 403 with --read-only | 429
"""

from __future__ import annotations

import json
import shutil
import tempfile
from contextlib import aclosing
from functools import partial
from typing import IO, Any

import anyio
from mcp.server.mcpserver import Context
from mcp_types import CallToolResult
from starlette.requests import Request
from starlette.responses import Response

from bitlm_core import BitLMError, check_records
from bitlm_mcp.arguments import ArgumentError, check_arguments, shown
from bitlm_mcp.call_gate import storable
from bitlm_mcp.dashboard.page_calls import PageCalls
from bitlm_mcp.dashboard.wire import TooLargeError, declared_bytes, refused
from bitlm_mcp.data_files import CHUNK, named_os_errors
from bitlm_mcp.dataset_files import SPARE_DISK_BYTES
from bitlm_mcp.errors import tool_errors
from bitlm_mcp.operations.data import add_dataset
from bitlm_mcp.results import both_channels
from bitlm_mcp.schemas import StrictTool
from bitlm_mcp.tools.data import DatasetResult, dataset_result
from bitlm_mcp.tools.waiting import off_loop
from bitlm_mcp.workspace import Workspace

CONTENT_TYPE = "application/octet-stream"
LOOK_BYTES = 1 << 20
"""How many bytes are taken between two looks at what is allowed, and at the disk."""

SILENCE_S = 60.0
"""A page that sends nothing for so long has gone, whatever its connection says."""

MAX_FILENAME = 200
_ASKED = ("records", "holdout_fraction", "overwrite")
PARAMETERS = ("dataset_id", "filename", *_ASKED)


class Uploads:
    """Takes files for one workspace."""

    def __init__(self, workspace: Workspace, calls: PageCalls) -> None:
        self._workspace = workspace
        self._calls = calls

    async def take(self, request: Request, tool: StrictTool) -> Response:
        """Store the body of a request as a dataset; `tool` is add_dataset, whose rules hold."""
        if refusal := refused(request, self._workspace.settings, CONTENT_TYPE):
            return refusal
        arguments = {"dataset_id": request.path_params["dataset_id"]} | _asked(request, tool)

        async def act(_: Context[Any, Any]) -> CallToolResult:
            with tool_errors(tool.name):
                checked = _checked(request, tool, arguments)
                await off_loop(self._workspace.datasets.check_free, checked["dataset_id"], checked["overwrite"])
            await self._check_room(0, declared_bytes(request))
            with named_os_errors("the file"):
                # It has no name, so nothing of it can stay, however this ends.
                nameless = await off_loop(self._nameless)
                async with anyio.wrap_file(nameless) as file:
                    await self._write(request, file)
                    with tool_errors(tool.name):
                        filename = request.query_params.get("filename")
                        return both_channels(await off_loop(self._stored, nameless, filename, checked))

        return await self._calls.make(request, tool.name, arguments, PARAMETERS, act, 201)

    def _nameless(self) -> IO[bytes]:
        return tempfile.TemporaryFile(dir=self._workspace.settings.state_dir)

    async def _write(self, request: Request, file: anyio.AsyncFile[bytes]) -> None:
        """Write a body to a file as it comes."""
        size = looked = 0
        async with aclosing(request.stream()) as stream:
            while True:
                with anyio.move_on_after(SILENCE_S) as waiting:
                    chunk = await anext(stream)
                if waiting.cancelled_caught:
                    raise BitLMError(f"nothing came for {SILENCE_S:g} s after {size:,} bytes: send the file again")
                if not chunk:  # its end; what is empty on the way is left out by Starlette
                    break
                size += len(chunk)
                if size - looked >= LOOK_BYTES:
                    await self._check_room(looked, size)
                    looked = size
                await file.write(chunk)
        await self._check_room(size, size)

    async def _check_room(self, written: int, size: int) -> None:
        """Raise TooLargeError where `size` bytes, of which so many are `written`, are more than may be, or than fit."""
        allowed = self._workspace.settings.max_upload_mib << 20
        if size > allowed:
            raise TooLargeError(
                f"the file has more than the {allowed:,} bytes that may be uploaded: take a part of it, or start the server "
                f"with --max-upload-mib above {allowed >> 20:,}",
                limit=allowed,
            )
        free = await off_loop(lambda: shutil.disk_usage(self._workspace.settings.state_dir).free - SPARE_DISK_BYTES)
        # What was received is copied once more, and removed when that is done.
        if 2 * size - written > free:
            raise TooLargeError(
                f"the disk of the state directory has no room for {size:,} bytes: take a part of the file, or free some space",
                limit=max(0, free // 2),
            )

    def _stored(self, file: IO[bytes], filename: str | None, checked: dict[str, Any]) -> DatasetResult:
        file.seek(0)
        source = f"upload of {storable(filename, MAX_FILENAME)}" if filename else "upload"
        documents = [iter(partial(file.read, CHUNK), b"")]
        settings = {name: checked[name] for name in ("dataset_id", *_ASKED)}
        return dataset_result(add_dataset(self._workspace, documents=documents, source=source, **settings))


def _asked(request: Request, tool: StrictTool) -> dict[str, Any]:
    """The arguments in the query; what is no text is written as JSON is."""
    found = {}
    for name, text in request.query_params.items():
        if name == "filename":
            continue
        found[name] = text
        if tool.checked["properties"].get(name, {}).get("type") != "string":
            try:
                found[name] = json.loads(text)
            except (ValueError, RecursionError):
                continue
    return found


def _checked(request: Request, tool: StrictTool, arguments: dict[str, Any]) -> dict[str, Any]:
    """The arguments as add_dataset checks them. Raises ArgumentError or ConfigError."""
    unknown = next((name for name in arguments if name not in PARAMETERS), None)
    if unknown is not None:
        raise ArgumentError(
            f"{tool.name}: an upload takes no {shown(unknown)}; it takes {', '.join(PARAMETERS[1:])}",
            tool=tool.name,
            arguments=(unknown,),
        )
    checked = check_arguments(tool.name, tool.arguments_model, tool.checked, arguments)
    if checked["records"] is not None:
        check_records(checked["records"])
    return checked
