"""A session of an agent over stdio, by the protocol's own Python client: create, train, wait, ask, measure, save.

    .venv/bin/python examples/agent_session.py [FILE] [STEPS]

The server is a child process, as hosts start it; what an agent would be told stands behind each call.
"""

import os
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

FILE = Path(sys.argv[1] if len(sys.argv) > 1 else __file__)
STEPS = int(sys.argv[2]) if len(sys.argv) > 2 else 60


class ToolError(Exception):
    """A tool would not, or its work ended without a result."""


def server(state: str) -> StdioServerParameters:
    """How a host would start the server; it may read data files from where FILE lies."""
    arguments = ["-m", "bitlm_mcp", "serve", "--state-dir", state, "--allow-dir", str(FILE.resolve().parent)]
    return StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))


async def call(client: Client, tool: str, **arguments):
    """What a tool answers. Raises ToolError for its error."""
    answer = await client.call_tool(tool, arguments)
    text = answer.content[0].text
    print(f"{tool}({', '.join(f'{name}={value!r}' for name, value in arguments.items())})\n    {text[:500]}")
    if answer.is_error:
        raise ToolError
    return answer.structured_content


async def finished(client: Client, tool: str, **arguments):
    """The same of work that may take long: a job is waited for, as often as it takes."""
    found = await call(client, tool, **arguments)
    while found["status"] in ("queued", "running"):
        found = await call(client, "wait_job", job_id=found["job_id"], wait_s=20)
    if found["status"] != "completed":
        raise ToolError
    return found


async def session(state: str) -> None:
    async with Client(stdio_client(server(state))) as client:
        print(f"{client.server_info.name} offers {len((await client.list_tools()).tools)} tools")
        await call(client, "add_dataset", dataset_id="data", path=str(FILE.resolve()))
        await call(client, "init_model", model_id="mine", preset="tiny", max_seq_len=64, mixing_memory_mib=16)
        await finished(client, "train_step", model_id="mine", dataset_id="data", steps=STEPS, wait_s=5)
        await call(client, "infer", model_id="mine", prompt="the ", max_new_bytes=40, temperature=0.5, constraint="utf8")
        measured = await finished(client, "score", model_id="mine", dataset_id="data")
        saved = await call(client, "save_checkpoint", model_id="mine", name="end-of-session")
        print(f"{measured['bits_per_byte']:.2f} bits per byte of what was held back; saved at step {saved['step']}")


refused = None
with TemporaryDirectory() as state_dir:
    try:
        anyio.run(session, state_dir)
    except* ToolError:  # in a group, as all that passes through the client
        refused = "the session ended early: why stands in the last answer above"
if refused:
    sys.exit(refused)
