"""The dashboard's routes: the page, its static files, and the JSON views of what is.

    GET /                                                 the page
    GET /static/{file}                                    its style and scripts, nothing else
    GET /api/status                                       all that is shown, without histories; 304 while nothing changed
    GET /api/models/{model_id}/history?since_step&limit   the curve of one model, thinned, extremes kept

How the page hears of changes is in `live`, what people can do through it in `acts`. Everything shown comes from the workspace's
one immutable snapshot, so the page cannot disagree with tools and resources. Who may ask at all is decided before, by the guard
of `bitlm_mcp.security`. `boot` names this process: versions and steps of another one do not compare with ours.
"""

from __future__ import annotations

import gzip
import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bitlm_core import ConfigError
from bitlm_mcp.dashboard.page_state import PageState
from bitlm_mcp.dashboard.wire import failure, to_json
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.freshness import caught_up
from bitlm_mcp.history import thinned
from bitlm_mcp.workspace import Workspace

DEFAULT_POINTS = 1000
MAX_POINTS = 5000
MAX_STEP = 2**53 - 1  # the largest whole number that JavaScript keeps exactly

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
}


def dashboard_routes(workspace: Workspace) -> list[BaseRoute]:
    """All routes of the dashboard, over what `workspace` publishes."""
    views, files = _Views(workspace), _Files()
    return [
        Route("/", files.page),
        Route("/favicon.ico", _no_icon),
        Route("/static/{file:path}", files.static),
        Route("/api/status", views.status),
        Route("/api/models/{model_id:path}/history", views.history),
    ]


class _Views:
    """The JSON views of one process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._page = PageState(workspace)

    async def status(self, request: Request) -> Response:
        """The whole state without histories. Rendered once per snapshot, however many pages are open."""
        await caught_up(self._workspace)
        snapshot = self._workspace.snapshot
        tag = f'"{self._page.boot}-{snapshot.version}"'
        if _known(request, tag):
            return Response(status_code=304, headers={"etag": tag})
        body = await run_in_threadpool(self._page.render, snapshot)
        return Response(body, media_type="application/json", headers={"etag": tag})

    async def history(self, request: Request) -> Response:
        """The recorded steps after `since_step` of one model, at most `limit`, always with the last one."""
        await caught_up(self._workspace)
        snapshot, model_id = self._workspace.snapshot, request.path_params["model_id"]
        try:
            since = whole_number(request.query_params, "since_step", 0, 0, MAX_STEP)
            limit = whole_number(request.query_params, "limit", DEFAULT_POINTS, 1, MAX_POINTS)
            if model_id not in snapshot.models:
                raise UnknownHandleError("model", model_id, list(snapshot.models), "read /api/status for the models")
        except UnknownHandleError as error:
            return failure(404, error.message)
        except ConfigError as error:
            return failure(400, error.message)

        def render() -> bytes:
            after = [point for point in snapshot.models[model_id].history if point.step > since]
            points = [point.plain() for point in thinned(after, limit)]
            about = {"boot": self._page.boot, "version": snapshot.version, "model_id": model_id}
            return to_json(about | {"points": points})

        return Response(await run_in_threadpool(render), media_type="application/json")


class _Files:
    """The shipped files, read and packed once: what is not one of them is never looked for on the disk."""

    def __init__(self) -> None:
        shipped = (file for file in sorted(_STATIC.iterdir()) if file.suffix in _MEDIA_TYPES)
        self._files = {file.name: file.read_bytes() for file in shipped}
        self._packed = {name: gzip.compress(content, mtime=0) for name, content in self._files.items()}

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return self._file(request, "index.html")

    async def static(self, request: Request) -> Response:
        """One file of the page."""
        name = request.path_params["file"]
        if name not in self._files:
            return failure(404, UnknownHandleError("file", name, list(self._files), "open / for the page").message)
        return self._file(request, name)

    def _file(self, request: Request, name: str) -> Response:
        content = self._files[name]
        tag = hashlib.sha256(content).hexdigest()[:16]
        headers = {"cache-control": "no-cache", "etag": f'"{tag}"', "vary": "accept-encoding"}
        if _known(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        headers["content-type"] = _MEDIA_TYPES[Path(name).suffix]
        if "gzip" in request.headers.get("accept-encoding", ""):
            return Response(self._packed[name], headers=headers | {"content-encoding": "gzip"})
        return Response(content, headers=headers)


def whole_number(query: Mapping[str, str], name: str, default: int, low: int, high: int) -> int:
    """A whole number from a query string. Raises ConfigError (`name`, `value`)."""
    text = query.get(name, "").strip()
    if not text:
        return default
    # int() alone would also take "1_000" and other scripts' digits, and quadratic time for long texts.
    value = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else None
    if value is None or not low <= value <= high:
        raise ConfigError(
            f"{name} is {text[:40]!r}: give a whole number from {low:,} to {high:,}, without separators",
            name=name,
            value=text,
        )
    return value


def _known(request: Request, tag: str) -> bool:
    """Whether the client says that it holds this version already."""
    tags = request.headers.get("if-none-match", "").split(",")
    return tag in (known.strip().removeprefix("W/") for known in tags)


async def _no_icon(_: Request) -> Response:
    """Browsers ask for it unasked; an error in their console would look like a fault of the page."""
    return Response(status_code=204)
