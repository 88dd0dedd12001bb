"""What the dashboard's routes answer with: JSON in which no number is missing its value, and errors as sentences."""

from __future__ import annotations

import json
import math
from typing import Any

from starlette.responses import Response

from bitlm_core import BitLMError


def finite(value: Any) -> Any:
    """The same value with null for NaN and the infinities, which JSON does not know."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [finite(item) for item in value]
    return value


def json_bytes(value: Any) -> bytes:
    """The value as one line of compact JSON."""
    return json.dumps(finite(value), allow_nan=False, separators=(",", ":")).encode()


def error_response(status: int, error: BitLMError) -> Response:
    """An error for the page: what happened, and what to do."""
    return Response(json_bytes({"error": error.message}), status_code=status, media_type="application/json")
