"""The dashboard's routes: the page, its static files, the JSON views that it asks for, and the two things it can do.

    GET /                                                 the page
    GET /static/{file}                                    its style and scripts, nothing else
    GET /api/status                                       the snapshot without histories; 304 while nothing changed
    GET /api/models/{model_id}/history?since_step&limit   the curve of one model, thinned, extremes kept
    GET, POST /api/models/{model_id}/settings             how a model is watched; changed as by set_telemetry
    POST /api/jobs/{job_id}/cancel                        stop a job, as the tool cancel_job does; not with --read-only

Everything shown comes from the workspace's one immutable snapshot, so the page cannot disagree with tools and resources. Who
may ask at all is decided before, by the guard of `bitlm_mcp.security`; that a cancel must be JSON keeps forms of other sites
out a second time. `boot` names this process: versions and steps of another one do not compare with ours.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import math
import re
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from bitlm_core import BitLMError, ConfigError, ModelStateError
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.history import thinned
from bitlm_mcp.operations.reading import cancel
from bitlm_mcp.operations.telemetry import set_telemetry, settings
from bitlm_mcp.snapshot import Snapshot
from bitlm_mcp.workspace import Workspace

DEFAULT_POINTS = 1000
MAX_POINTS = 5000
MAX_BODY = 4096
SAVE_LOOK_S = 1.0
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
        Route("/api/models/{model_id:path}/settings", views.settings, methods=["GET", "POST"]),
        Route("/api/jobs/{job_id}/cancel", views.cancel, methods=["POST"]),
    ]


class _Views:
    """The JSON views of one process."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace
        self._boot = secrets.token_hex(4)
        self._rendered: tuple[Snapshot, bytes] | None = None

    async def status(self, request: Request) -> Response:
        """The whole state without histories. Rendered once per snapshot, however many pages are open."""
        snapshot = self._workspace.snapshot
        tag = f'"{self._boot}-{snapshot.version}"'
        if _known(request, tag):
            return Response(status_code=304, headers={"etag": tag})
        if self._rendered is None or self._rendered[0] is not snapshot:
            # Off the loop: the latest value of a metric is searched for in the histories.
            about = {"boot": self._boot, "read_only": self._workspace.settings.read_only}
            body = await run_in_threadpool(lambda: _json(about | snapshot.summary()))
            self._rendered = (snapshot, body)
        return Response(self._rendered[1], media_type="application/json", headers={"etag": tag})

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
            about = {"boot": self._boot, "version": snapshot.version, "model_id": model_id}
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
            return _error(404, UnknownHandleError("file", name, list(self._files), "open / for the page"))
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


def finite(value: Any) -> Any:
    """The same value with null for NaN and the infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def _json(value: Any) -> bytes:
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":")).encode()


def _known(request: Request, tag: str) -> bool:
    """Whether the client says that it holds this version already."""
    tags = request.headers.get("if-none-match", "").split(",")
    return tag in (known.strip().removeprefix("W/") for known in tags)


def _error(status: int, error: BitLMError) -> Response:
    return Response(_json({"error": error.message}), status_code=status, media_type="application/json")


async def _no_icon(_: Request) -> Response:
    """Browsers ask for it unasked; an error in their console would look like a fault of the page."""
    return Response(status_code=204)
