"""Lines on stdin: long ones are refused under the id of their request, and the next ones are read as before."""

from __future__ import annotations

import io
import json
from typing import Any

import anyio
import pytest
from mcp_types import JSONRPCError

from bitlm_mcp.stdio_lines import BoundedLines

LIMIT = 3000


async def read(data: bytes, limit: int = LIMIT) -> tuple[list[str], list[JSONRPCError]]:
    refuse, refused = anyio.create_memory_object_stream[JSONRPCError](10)
    with refuse, refused:
        lines = [line async for line in BoundedLines(io.BytesIO(data), refuse, limit)]
        return lines, [refused.receive_nowait() for _ in range(refused.statistics().current_buffer_used)]


def request(request_id: Any, *, first: bool, size: int = LIMIT) -> bytes:
    call = {"method": "tools/call", "params": {"arguments": {"id": 99, "text": "x" * size}}}
    head, tail = {"jsonrpc": "2.0", "id": request_id}, {"id": request_id, "jsonrpc": "2.0"}
    return json.dumps(head | call if first else call | tail).encode() + b"\n"


@pytest.mark.anyio
@pytest.mark.parametrize("request_id", [1, 0, 123_456_789, "a-b", 'quote " and \\', "é"])
@pytest.mark.parametrize("first", [True, False])
async def test_a_long_request_is_refused_by_its_id(request_id: Any, first: bool) -> None:
    lines, refused = await read(b"before\n" + request(request_id, first=first) + b"after\n")
    assert lines == ["before\n", "after\n"]
    (error,) = refused
    assert error.id == request_id and "3,000" in error.error.message and "add_dataset" in error.error.message


@pytest.mark.anyio
@pytest.mark.parametrize(
    "data",
    [
        b"x" * 10_000 + b"\n",
        b'{"jsonrpc":"2.0","params":{"id":7,"text":"' + b"y" * 10_000 + b'"}}\n',
        b'{"params":{"text":"' + b"y" * 10_000 + b'","id":7}}\n',  # the id of an argument is not the request's
        b'{"params":["' + b"y" * 10_000 + b'"],"id":' + b"9" * 40 + b"}\n",
    ],
)
async def test_an_id_that_cannot_be_told_is_null(data: bytes) -> None:
    lines, refused = await read(data + b"after\n")
    assert lines == ["after\n"] and [error.id for error in refused] == [None]


@pytest.mark.anyio
async def test_the_limit_is_exact_and_counts_the_end_of_the_line() -> None:
    assert await read(b"x" * 9 + b"\n", 10) == (["x" * 9 + "\n"], [])
    lines, refused = await read(b"x" * 10 + b"\n" + b"y\n", 10)
    assert lines == ["y\n"] and "11 bytes" in refused[0].error.message


@pytest.mark.anyio
async def test_a_line_without_an_end_and_bytes_that_are_no_text() -> None:
    lines, refused = await read(b"\xff\xfe\n" + b"z" * (3 * LIMIT))
    assert lines == ["\ufffd\ufffd\n"] and "9,000 bytes" in refused[0].error.message
    assert await read(b"no end") == (["no end"], [])
    assert await read(b"") == ([], [])
