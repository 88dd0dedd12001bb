"""A client of the installed server, with nothing but what the wheel brings: create, train, ask, save; again after a restart.

    python -I stdio_client.py STATE COMMAND...

COMMAND starts the server on stdio. The two answers to the same question are printed as one line of JSON.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

QUESTION = {"prompt": "abc", "max_new_bytes": 16, "seed": 7}


async def call(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    """The facts of a tool's result; an error ends the program."""
    answer = await client.call_tool(tool, arguments)
    if answer.is_error:
        raise SystemExit(f"{tool}: {answer.content}")
    return dict(answer.structured_content or {})


async def main(state: Path, command: list[str]) -> None:
    """The story, over two starts of the server."""
    options = ["serve", "--state-dir", str(state), "--threads", "1"]
    parameters = StdioServerParameters(command=command[0], args=[*command[1:], *options], env=dict(os.environ))
    async with Client(stdio_client(parameters)) as client:
        await call(client, "init_model", model_id="m", preset="tiny")
        trained = await call(client, "train_step", model_id="m", text="abc abc abc " * 40, steps=3, wait_s=45)
        first = await call(client, "infer", model_id="m", **QUESTION)
        await call(client, "save_checkpoint", model_id="m", name="kept")
        guide = await client.read_resource("bitlm://metrics-guide")
        tools = await client.list_tools()
    async with Client(stdio_client(parameters)) as client:
        await call(client, "load_checkpoint", model_id="again", name="kept")
        second = await call(client, "infer", model_id="again", **QUESTION)
    told = {
        "steps": trained["steps_done"],
        "first": first["data_base64"],
        "second": second["data_base64"],
        "guide_bytes": len(getattr(guide.contents[0], "text", "")),
        "tools": len(tools.tools),
    }
    print(json.dumps(told))


if __name__ == "__main__":
    anyio.run(main, Path(sys.argv[1]), sys.argv[2:])
