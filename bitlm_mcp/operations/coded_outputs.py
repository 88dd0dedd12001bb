"""How an answer's bytes stand in a result where they were to be compressed."""

from __future__ import annotations

import base64
from typing import Any

from bitlm_mcp.compute.messages import CodedOutput


def output_facts(coded: CodedOutput | None, field: str, warning: str | None = None) -> dict[str, Any]:
    """What replaces `field`, the bytes as base64, and what is told of the codec; warnings are joined."""
    if coded is None:
        return {"warning": warning} if warning else {}
    told = [text for text in (warning, coded.warning) if text]
    return {
        field: base64.b64encode(coded.data).decode(),
        "output_codec": coded.codec,
        "output_ratio": coded.ratio,
        "output_seconds": coded.seconds,
    } | ({"warning": "; ".join(told)} if told else {})
