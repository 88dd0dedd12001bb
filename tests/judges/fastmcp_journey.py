"""The main path with the client of fastmcp: python fastmcp_journey.py {auto,legacy} TARGET…

TARGET is an address, or a command for stdio. Runs in an environment of its own, where our packages are not installed. Exits
with 0 when all went as it must, and prints the names of the tools as one line of JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import fastmcp_tasks
from fastmcp import Client
from fastmcp.client.transports import SSETransport, StdioTransport, StreamableHttpTransport
from fastmcp.exceptions import ToolError

OVER = {"completed", "failed", "cancelled", "interrupted"}


def transport(target: list[str]) -> StdioTransport | SSETransport | StreamableHttpTransport:
    if target[0].endswith("/sse"):
        return SSETransport(target[0])
    return StreamableHttpTransport(target[0]) if target[0].startswith("http") else StdioTransport(target[0], target[1:])


def check(condition: object, what: object) -> None:
    if not condition:
        raise SystemExit(f"not as it must be: {what}")


async def main(mode: str, target: list[str]) -> None:
    async with Client(transport(target), mode=mode) as client:

        async def call(tool: str, /, **arguments: object) -> dict[str, object]:
            result = await client.call_tool(tool, arguments)
            check(len(result.content[0].text) <= 2048, result.content)
            return dict(result.structured_content)

        tools = [tool.name for tool in await client.list_tools()]
        model = f"fastmcp-{mode}-{'stdio' if len(target) > 1 else target[0].rsplit('/', 1)[1]}"
        await call("add_dataset", dataset_id=model, text="the quick brown fox jumps over the lazy dog\n" * 50)
        await call("init_model", model_id=model, preset="tiny")
        job = await call("train_step", model_id=model, dataset_id=model, steps=4, wait_s=0)
        while job["status"] not in OVER:
            job = await call("wait_job", job_id=job["job_id"])
        check(job["status"] == "completed" and job["steps_done"] == 4, job)
        await follow_tasks(client, mode, model)
        asked = {"prompt": "the quick", "max_new_bytes": 8, "seed": 7}
        answer = await call("infer", model_id=model, **asked)
        check((await call("infer_long", model_id=model, dataset_id=model))["bits_per_byte"] > 0, "bits per byte")
        await call("diffusion_sample", model_id=model, prefix="the ", num_bytes=8, seed=1)
        check((await call("get_telemetry", model_id=model))["step"] >= 4, "the step")
        await call("save_checkpoint", model_id=model, name=model)
        await call("load_checkpoint", name=model, model_id=f"{model}-again")
        again = await call("infer", model_id=f"{model}-again", **asked)
        check(again["data_base64"] == answer["data_base64"], (answer, again))
        status = json.loads((await client.read_resource("bitlm://status"))[0].text)
        check(model in [known["model_id"] for known in status["models"]], status)
        check(any(prompt.name == "find_anomalies" for prompt in await client.list_prompts()), "the prompts")
        try:
            await call("infer", model_id="none", prompt="a")
        except ToolError as error:
            check("no model 'none'" in str(error), error)
        else:
            check(condition=False, what="a model that is not there was used")
        print(json.dumps(tools))


async def follow_tasks(client: Client, mode: str, model: str) -> None:
    """Follow one training as a task to its end, and cancel another; tasks belong to the modern era."""
    if mode == "legacy":
        return
    check(client.protocol_version == "2026-07-28", client.protocol_version)
    arguments = {"model_id": model, "dataset_id": model, "seconds": 2.5}  # longer than what is quick
    task = await fastmcp_tasks.call_tool_task(client, "train_step", arguments)
    result = await task.result()
    check(result.structured_content["status"] == "completed", result)
    transparent = await client.call_tool("train_step", arguments)
    check(transparent.structured_content["status"] == "completed", transparent)
    task = await fastmcp_tasks.call_tool_task(client, "train_step", arguments | {"seconds": 600})
    check((await task.status()).status == "working", task)
    await task.cancel()
    check((await task.wait(state="cancelled", timeout=60)).status == "cancelled", task)


asyncio.run(main(sys.argv[1], sys.argv[2:]))
