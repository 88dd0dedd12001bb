"""The dashboard's routes: the page, its static files, the JSON views that it asks for, and the two things it can do.

    GET /                                                 the page
    GET /static/{file}                                    its style and scripts, nothing else
    GET /api/status                                       all that is shown, without histories; 304 while nothing changed
    GET /api/models/{model_id}/history?since_step&limit   the curve of one model, thinned, extremes kept
    GET, POST /api/models/{model_id}/settings             how a model is watched; changed as by set_telemetry
    POST /api/jobs/{job_id}/cancel                        stop a job, as the tool cancel_job does; not with --read-only

How the page hears of changes is in `live`. Everything shown comes from the workspace's one immutable snapshot, so the page
cannot disagree with tools and resources. Who may ask at all is decided before, by the guard of `bitlm_mcp.security`; that a
cancel must be JSON keeps forms of other sites out a second time. `boot` names this process: versions and steps of another one
do not compare with ours.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bitlm_core import BitLMError, ConfigError, ModelStateError
from bitlm_mcp.dashboard.bodies import error_response as _error
from bitlm_mcp.dashboard.bodies import json_bytes as _json
from bitlm_mcp.dashboard.page_state import PageState
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.history import thinned
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.telemetry import set_telemetry, settings
from bitlm_mcp.workspace import Workspace

DEFAULT_POINTS = 1000
MAX_POINTS = 5000
MAX_BODY = 4096
SAVE_LOOK_S = 1.0
MAX_STEP = 2**53 - 1  # the largest whole number that JavaScript keeps exactly

_STATIC = Path(__file__).parent / "static"
_MEDIA_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "dashboard.js": "text/javascript; charset=utf-8",
    "chart.js": "text/javascript; charset=utf-8",
    "settings.js": "text/javascript; charset=utf-8",
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
        Route("/api/models/{model_id:path}/settings", views.settings, methods=["GET", "POST"]),
        Route("/api/jobs/{job_id}/cancel", views.cancel, methods=["POST"]),
    ]


class _Views:
    """The JSON views of one process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._page = PageState(workspace)

    async def status(self, request: Request) -> Response:
        """The whole state without histories. Rendered once per snapshot, however many pages are open."""
        snapshot = self._workspace.snapshot
        tag = f'"{self._page.boot}-{snapshot.version}"'
        if _known(request, tag):
            return Response(status_code=304, headers={"etag": tag})
        body = await run_in_threadpool(self._page.render, snapshot)
        return Response(body, media_type="application/json", headers={"etag": tag})

    async def history(self, request: Request) -> Response:
        """The recorded steps after `since_step` of one model, at most `limit`, always with the last one."""
        snapshot, model_id = self._workspace.snapshot, request.path_params["model_id"]
        try:
            since = whole_number(request.query_params, "since_step", 0, 0, MAX_STEP)
            limit = whole_number(request.query_params, "limit", DEFAULT_POINTS, 1, MAX_POINTS)
            if model_id not in snapshot.models:
                raise UnknownHandleError("model", model_id, list(snapshot.models), "read /api/status for the models")
        except UnknownHandleError as error:
            return _error(404, error)
        except ConfigError as error:
            return _error(400, error)

        def render() -> bytes:
            after = [point for point in snapshot.models[model_id].history if point.step > since]
            points = [point.plain() for point in thinned(after, limit)]
            about = {"boot": self._page.boot, "version": snapshot.version, "model_id": model_id}
            return _json(about | {"points": points})

        return Response(await run_in_threadpool(render), media_type="application/json")

    async def settings(self, request: Request) -> Response:
        """How a model is watched; with POST, changed first: answered when that is saved."""
        workspace, model_id = self._workspace, request.path_params["model_id"]
        try:
            if request.method == "POST":
                if refused := self._refused(request):
                    return refused
                asked = _json_object(await request.body())
                job = await run_in_threadpool(set_telemetry, workspace, model_id, asked)
                with workspace.changes.watch() as watch:
                    while not job.over:
                        await watch.next(SAVE_LOOK_S)
                if job.error is not None:
                    raise job.error
            view = workspace.model(model_id)
        except UnknownHandleError as error:
            return _error(404, error)
        except ConfigError as error:
            return _error(400, error)
        except ModelStateError as error:
            return _error(409, error)
        except BitLMError as error:
            return _error(503, error)
        about = {"model_id": model_id, "settings": settings(view.config)}
        return Response(_json(about), media_type="application/json")

    def _refused(self, request: Request) -> Response | None:
        """Why nothing may be changed by this request, if so."""
        if self._workspace.settings.read_only:
            return _error(403, ConfigError("the server was started with --read-only: nothing can be changed through it"))
        if request.headers.get("content-type") != "application/json":
            return _error(415, ConfigError("send content-type: application/json"))
        return None

    async def cancel(self, request: Request) -> Response:
        """Ask a job to stop at its next step; the status tells when it has."""
        if refused := self._refused(request):
            return refused
        job_id = request.path_params["job_id"]
        try:
            await run_in_threadpool(cancel, self._workspace, job_id)
        except UnknownHandleError as error:
            return _error(404, error)
        except BitLMError as error:
            return _error(503, error)
        return Response(_json({"job_id": job_id}), status_code=202, media_type="application/json")


class _Files:
    """The shipped files, read once: what is not one of them is never looked for on the disk."""

    def __init__(self) -> None:
        self._files = {name: (_STATIC / name).read_bytes() for name in _MEDIA_TYPES}

    async def page(self, request: Request) -> Response:
        """The page itself."""
        return self._file(request, "index.html")

    async def static(self, request: Request) -> Response:
        """One file of the page."""
        name = request.path_params["file"]
        if name not in self._files:
            return _error(404, UnknownHandleError("file", name, list(self._files), "open / for the page"))
        return self._file(request, name)

    def _file(self, request: Request, name: str) -> Response:
        content = self._files[name]
        headers = {"cache-control": "no-cache", "etag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
        if _known(request, headers["etag"]):
            return Response(status_code=304, headers=headers)
        return Response(content, headers=headers | {"content-type": _MEDIA_TYPES[name]})


def _json_object(body: bytes) -> dict[str, Any]:
    """A small JSON object by its names. Raises ConfigError for anything else."""
    try:
        asked = json.loads(body) if len(body) <= MAX_BODY else None
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise ConfigError(f"{len(body):,} bytes are no settings: send a JSON object of at most {MAX_BODY:,} bytes")
    return asked


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
