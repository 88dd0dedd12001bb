"""What the page's routes have in common: JSON both ways, bodies with an end, and requests that may change nothing."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from bitlm_core import BitLMError, ConfigError
from bitlm_mcp.settings import ServerSettings

JSON = "application/json"


class TooLargeError(BitLMError):
    """A body of more than `limit` bytes."""

    limit: int


def refused(request: Request, settings: ServerSettings, content_type: str = JSON) -> Response | None:
    """Why nothing may be changed by this request, if so."""
    if settings.read_only:
        return failure(403, "the server was started with --read-only: nothing can be changed through it")
    return mistyped(request, content_type)


def mistyped(request: Request, content_type: str = JSON) -> Response | None:
    """The refusal of a body of another type, which forms of other web sites could send."""
    if request.headers.get("content-type") != content_type:
        return failure(415, f"send content-type: {content_type}")
    return None


def declared_bytes(request: Request) -> int:
    """How long the body is going to be, as far as the request says; 0 where it does not."""
    text = request.headers.get("content-length", "")
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else 0


async def body_within(request: Request, limit: int) -> bytes:
    """The whole body. Raises TooLargeError before more than `limit` bytes are kept."""
    body, size = bytearray(), declared_bytes(request)
    if size <= limit:
        async for chunk in request.stream():
            size = len(body) + len(chunk)
            if size > limit:
                break
            body += chunk
    if size > limit:
        raise TooLargeError(f"the body has more than {limit:,} bytes, the limit: send less", limit=limit)
    return bytes(body)


def json_object(body: bytes) -> dict[str, Any]:
    """A JSON object by its names. Raises ConfigError for anything else."""
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise ConfigError(f"{len(body):,} bytes are no JSON object: send one, with the arguments by their names")
    return asked


def finite(value: Any) -> Any:
    """The same value with null for NaN and the infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def to_json(value: Any) -> bytes:
    """A value as compact JSON."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":")).encode()


def answer(value: Any, status: int = 200) -> Response:
    """A response of JSON."""
    return Response(to_json(value), status_code=status, media_type=JSON)


def failure(status: int, text: str, **facts: Any) -> Response:
    """A response that says what was wrong."""
    return answer({"error": text} | facts, status)
