"""An agent in a loop: a language model is offered this server's tools, and what it calls is called, until it has an answer.

    .venv/bin/python examples/agent_loop.py [QUESTION]

The environment chooses the model. OPENAI_BASE_URL: an endpoint of chat completions, with OPENAI_API_KEY and OPENAI_MODEL, as
most servers of open models have it, too. ANTHROPIC_BASE_URL: one of messages, with ANTHROPIC_API_KEY and ANTHROPIC_MODEL. With
neither, a script plays the model, so that this runs anywhere. BITLM_URL: a server that runs already (http://127.0.0.1:8765/mcp);
without it one is started.
"""

import json
import os
import sys
from collections.abc import Generator
from dataclasses import dataclass, field
from tempfile import TemporaryDirectory
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

LINES = [f"12:00:{second:02} web-{second % 3} GET /item/{second * 37 % 100} 200 {second % 7} ms\n" for second in range(60)]
LOG = "".join([*LINES[:41], "12:00:41 web-1 GET /../../etc/passwd 200 9 ms\n", *LINES[41:]])
QUESTION = f"Which line of this log is the oddest? Train a small model on it, and let it score the lines.\n\n{LOG}"
MAX_TURNS = 20


@dataclass
class Call:
    """A tool that the model wants called, and how that went."""

    call_id: str
    name: str
    arguments: dict[str, Any]
    result: str = ""
    failed: bool = False


@dataclass
class Turn:
    """What the model says at its turn; without calls it is the answer."""

    text: str
    calls: list[Call] = field(default_factory=list)


class ChatCompletions:
    """A model behind an endpoint of chat completions."""

    url = "chat/completions"

    def headers(self):
        return {"authorization": f"Bearer {os.environ.get('OPENAI_API_KEY', '')}"}

    def asked(self, system, question, turns, tools):
        messages = [{"role": "system", "content": system}, {"role": "user", "content": question}]
        for turn in turns:
            calls = [
                {"id": one.call_id, "type": "function", "function": {"name": one.name, "arguments": json.dumps(one.arguments)}}
                for one in turn.calls
            ]
            messages.append({"role": "assistant", "content": turn.text, "tool_calls": calls})
            messages += [{"role": "tool", "tool_call_id": one.call_id, "content": one.result} for one in turn.calls]
        functions = [{"name": tool.name, "description": tool.description, "parameters": tool.input_schema} for tool in tools]
        offered = [{"type": "function", "function": function} for function in functions]
        return {"model": os.environ["OPENAI_MODEL"], "messages": messages, "tools": offered}

    def said(self, answer):
        message = answer["choices"][0]["message"]
        calls = [
            Call(one["id"], one["function"]["name"], json.loads(one["function"]["arguments"] or "{}"))
            for one in message.get("tool_calls") or ()
        ]
        return Turn(message.get("content") or "", calls)


class Messages:
    """A model behind an endpoint of messages."""

    url = "v1/messages"

    def headers(self):
        return {"x-api-key": os.environ.get("ANTHROPIC_API_KEY", ""), "anthropic-version": "2023-06-01"}

    def asked(self, system, question, turns, tools):
        messages = [{"role": "user", "content": question}]
        for turn in turns:
            said = [{"type": "text", "text": turn.text}] if turn.text else []
            said += [{"type": "tool_use", "id": one.call_id, "name": one.name, "input": one.arguments} for one in turn.calls]
            results = [
                {"type": "tool_result", "tool_use_id": one.call_id, "content": one.result, "is_error": one.failed}
                for one in turn.calls
            ]
            messages += [{"role": "assistant", "content": said}, {"role": "user", "content": results}]
        offered = [{"name": tool.name, "description": tool.description, "input_schema": tool.input_schema} for tool in tools]
        asked = {"model": os.environ["ANTHROPIC_MODEL"], "max_tokens": 2048, "system": system}
        return asked | {"messages": messages, "tools": offered}

    def said(self, answer):
        parts = answer["content"]
        calls = [Call(part["id"], part["name"], part["input"]) for part in parts if part["type"] == "tool_use"]
        return Turn("".join(part["text"] for part in parts if part["type"] == "text"), calls)


class Endpoint:
    """A model over HTTP, in the words of one of these two."""

    def __init__(self, base_url: str, words: ChatCompletions | Messages) -> None:
        self.words, self.url = words, f"{base_url.rstrip('/')}/{words.url}"

    async def turn(self, system, question, turns, tools) -> Turn:
        async with httpx2.AsyncClient(timeout=300, headers=self.words.headers()) as http:
            answer = await http.post(self.url, json=self.words.asked(system, question, turns, tools))
            if answer.is_error:
                raise httpx2.HTTPError(f"{self.url} answered {answer.status_code}: {answer.text[:500]}")
            return self.words.said(answer.json())


class Script:
    """What a model would do with the question above, without one."""

    def __init__(self) -> None:
        self.acts = self.play()
        self.made = 0

    async def turn(self, system, question, turns, tools) -> Turn:
        text, *wanted = self.acts.send(turns[-1].calls[-1].result if turns else None)
        self.made += 1
        return Turn(text, [Call(f"call-{self.made}", name, arguments) for name, arguments in wanted])

    def play(self) -> Generator[tuple, str, None]:
        """Texts with the calls that are wanted; what comes back is the last result."""
        yield "I store the log.", ("add_dataset", {"dataset_id": "log", "text": LOG, "records": "lines"})
        sizes = {"preset": "tiny", "d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "mixing_memory_mib": 16}
        yield "I make a model.", ("init_model", {"model_id": "log", **sizes})
        learn = {"model_id": "log", "dataset_id": "log", "steps": 20, "batch_size": 4, "wait_s": 5}
        result = yield "It learns.", ("train_step", learn)
        while json.loads(result)["status"] in ("queued", "running"):
            result = yield "I wait.", ("wait_job", {"job_id": json.loads(result)["job_id"]})
        scoring = {"model_id": "log", "text": LOG, "records": "lines", "top": 1, "adaptive": True}
        result = yield "Which line surprises it?", ("score", scoring)
        while json.loads(result)["status"] in ("queued", "running"):
            result = yield "I wait.", ("wait_job", {"job_id": json.loads(result)["job_id"]})
        told = json.loads(result)
        record = told.get("result", told)["records"][0]["record"]
        yield (f"The oddest is line {record}: {LOG.splitlines()[record]}",)


def chosen() -> Endpoint | Script:
    """The model that the environment asks for."""
    for kind, words in {"OPENAI": ChatCompletions(), "ANTHROPIC": Messages()}.items():
        if base_url := os.environ.get(f"{kind}_BASE_URL"):
            if not os.environ.get(f"{kind}_MODEL"):
                sys.exit(f"{kind}_MODEL is not set: set it to the name of a model that {base_url} has")
            return Endpoint(base_url, words)
    return Script()


async def loop(model: Endpoint | Script, question: str, state: str) -> str | None:
    """Print what the model says and calls until it has an answer; why it has none, where it has none."""
    command, keys = ["-m", "bitlm_mcp", "serve", "--state-dir", state], ("OPENAI_API_KEY", "ANTHROPIC_API_KEY")
    environment = {name: value for name, value in os.environ.items() if name not in keys}  # the server needs none of them
    started = stdio_client(StdioServerParameters(command=sys.executable, args=command, env=environment))
    turns: list[Turn] = []
    async with Client(os.environ.get("BITLM_URL") or started) as client:
        tools = (await client.list_tools()).tools
        for _ in range(MAX_TURNS):
            try:
                turn = await model.turn(client.instructions, question, turns, tools)
            except (httpx2.HTTPError, ValueError) as error:  # ValueError: of what should be JSON
                return f"no answer from the model that can be read: {error!r}"
            print(turn.text)
            if not turn.calls:
                return None
            for one in turn.calls:
                answer = await client.call_tool(one.name, one.arguments)
                one.result, one.failed = " ".join(part.text for part in answer.content), bool(answer.is_error)
                print(f"    {one.name}: {'refused: ' if one.failed else ''}{one.result[:120]}")
            turns.append(turn)
    return f"no answer after {MAX_TURNS} turns"


with TemporaryDirectory() as state_dir:
    failure = anyio.run(loop, chosen(), sys.argv[1] if len(sys.argv) > 1 else QUESTION, state_dir)
if failure:
    sys.exit(failure)
