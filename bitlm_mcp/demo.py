"""`bitlm demo`: an agent's whole day, driven by a real MCP client over stdio.

A server is started as a child; a dataset and a model are made, trained, asked, sampled, watched and saved through tool
calls; the server is stopped and started again, and must answer as before. What is off ends the demo with `DemoError`.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import pydoc_data.topics
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

MODEL, DIFFUSION_MODEL, DATASET, CHECKPOINT = "demo", "demo-diffusion", "demo", "demo"
PROMPT = "The "
SEED = 7
HOLDOUT = 0.1
DIFFUSION_SHARE = 0.25
"""Training time of the small diffusion model, as a share of the main one's."""

COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "gzip -9": lambda data: gzip.compress(data, 9),
    "bzip2 -9": lambda data: bz2.compress(data, 9),
    "xz -9e": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


class DemoError(Exception):
    """Something did not go as it must."""


@dataclass(frozen=True)
class DemoSettings:
    """`data`: a file to learn, None for the language reference that comes with Python. `seconds` of training.

    `environment`: of the server, which must find the same Python packages as this process.
    """

    state_dir: Path
    data: Path | None
    seconds: float
    environment: dict[str, str]


def default_text() -> bytes:
    """The language reference topics that ship with CPython: real prose on every machine."""
    topics = pydoc_data.topics.topics
    return "\n".join(topics[name] for name in sorted(topics)).encode()


async def run_demo(settings: DemoSettings, console: Console) -> None:
    """The whole story; raises DemoError when something is off."""
    data = _data_file(settings)
    async with _server(settings, data.parent) as client:
        agent = _Agent(client, console, settings.seconds)
        await agent.learn(data)
        first = await agent.ask()
        checkpoint = await agent.call("save_checkpoint", name=CHECKPOINT, model_id=MODEL, overwrite=True)
    console.print("The server was stopped. Starting it again …")
    async with _server(settings, data.parent) as client:
        agent = _Agent(client, console, settings.seconds)
        loaded = await agent.call("load_checkpoint", name=CHECKPOINT, model_id=MODEL, overwrite=True)
        again = await agent.infer()
    if (loaded["sha256"], again["data_base64"]) != (checkpoint["sha256"], first["data_base64"]):
        raise DemoError("after the restart the same question with the same seed was answered differently")
    console.print(f"[green]After the restart the same seed gives the same {again['num_bits'] // 9} bytes.[/green]\n")
    console.print(f"Checkpoint {CHECKPOINT!r}: {checkpoint['path']} ({checkpoint['bytes']:,} bytes)", soft_wrap=True)
    console.print(_how_to_connect(settings.state_dir), soft_wrap=True)


class _Agent:
    """What an agent would do, call by call."""

    def __init__(self, client: Client, console: Console, seconds: float) -> None:
        self._client = client
        self._console = console
        self._seconds = seconds

    async def call(self, tool: str, told: Callable[[float], None] | None = None, **arguments: Any) -> dict[str, Any]:
        """One tool call; an error of the tool is a DemoError."""

        async def show(progress: float, total: float | None, message: str | None) -> None:
            if told:
                told(progress / (total or 1.0))

        answer = await self._client.call_tool(tool, arguments, progress_callback=show)
        if answer.is_error:
            raise DemoError(f"{tool} failed: {' '.join(getattr(part, 'text', '') for part in answer.content)}")
        return dict(answer.structured_content or {})

    async def learn(self, data: Path) -> None:
        """Dataset, model, training, and what it brought."""
        stored = await self.call("add_dataset", dataset_id=DATASET, path=str(data), holdout_fraction=HOLDOUT, overwrite=True)
        self._console.print(f"Data: {stored['bytes']:,} bytes; the last {stored['holdout_bytes']:,} are held back.")
        if not stored["holdout_bytes"]:
            raise DemoError(f"{data} is too small: nothing of it could be held back")
        model = await self.call("init_model", model_id=MODEL, overwrite=True)
        self._console.print(f"Model: {model['num_parameters']:,} parameters, a context mixer beside them.")
        before = await self.scored()
        await self.train("learning", MODEL, self._seconds, "causal")
        after = await self.scored()
        if not after["bits_per_byte"] < before["bits_per_byte"]:
            raise DemoError(f"training did not help: {before['bits_per_byte']} → {after['bits_per_byte']} bits per byte")
        self._console.print(_comparison(data.read_bytes(), stored["train_bytes"], before, after))

    async def ask(self) -> dict[str, Any]:
        """Samples of all kinds and telemetry; returns the answer that a restart must repeat."""
        answer = await self.infer()
        self._show("infer, after " + repr(PROMPT), answer["text"] or answer["data_base64"])
        verdict = answer["verdict"]
        found = "; ".join(verdict["reasons"]) or f"passed (C {_known(verdict.get('c'))}, S {_known(verdict.get('s'))})"
        self._console.print(f"safety gate: {found}", markup=False, highlight=False)
        along = await self.finished("infer_long", model_id=MODEL, dataset_id=DATASET)
        self._console.print(
            f"infer_long: {along['num_bits']:,} bits predicted in {along['num_windows']} windows, "
            f"{along['accuracy']:.1%} of the data bits right"
        )
        await self.call("init_model", model_id=DIFFUSION_MODEL, preset="tiny", max_seq_len=64, overwrite=True)
        await self.train("learning to fill gaps", DIFFUSION_MODEL, self._seconds * DIFFUSION_SHARE, "diffusion")
        filled = await self.call("diffusion_sample", model_id=DIFFUSION_MODEL, prefix=PROMPT, num_bytes=32, seed=SEED)
        self._show("diffusion_sample, after " + repr(PROMPT), filled["text"] or filled["data_base64"])
        seen = await self.call("get_telemetry", model_id=MODEL)
        self._console.print(
            f"telemetry at step {seen['step']}: {'  '.join(f'{name.upper()} {_known(seen.get(name))}' for name in 'kcs')}  "
            f"(order, complexity, likeness to the data; 0 to 1)\n"
        )
        return answer

    async def infer(self) -> dict[str, Any]:
        """The question that is asked twice."""
        how: dict[str, Any] = {"temperature": 0.7, "constraint": "utf8", "seed": SEED, "safety": "warn"}
        return await self.call("infer", model_id=MODEL, prompt=PROMPT, max_new_bytes=240, **how)

    async def scored(self) -> dict[str, Any]:
        """Bits per byte on the held-back part."""
        return await self.finished("score", model_id=MODEL, dataset_id=DATASET)

    async def finished(self, tool: str, **arguments: Any) -> dict[str, Any]:
        """A call that may return a job first: its facts once it is over."""
        answer = await self.call(tool, **arguments)
        while answer["status"] in ("queued", "running"):
            answer = await self.call("wait_job", job_id=answer["job_id"])
        if answer["status"] != "completed":
            raise DemoError(f"{tool} ended as {answer['status']}: {answer.get('error')}")
        return answer.get("result") or answer

    async def train(self, what: str, model_id: str, seconds: float, objective: str) -> None:
        """Train with a progress bar."""
        columns = (TextColumn("{task.description}"), BarColumn(), TextColumn("{task.percentage:>3.0f}%"))
        with Progress(*columns, TimeRemainingColumn(), console=self._console) as bar:
            task = bar.add_task(what, total=1.0)

            def told(share: float) -> None:
                bar.update(task, completed=share)

            settings = {"batch_size": 16} if objective == "diffusion" else {}
            answer = await self.call(
                "train_step",
                told,
                model_id=model_id,
                dataset_id=DATASET,
                seconds=seconds,
                objective=objective,
                **settings,
            )
            while answer["status"] in ("queued", "running"):
                answer = await self.call("wait_job", told, job_id=answer["job_id"])
                told(answer["progress"])
        if answer["status"] != "completed":
            raise DemoError(f"training ended as {answer['status']}: {answer.get('error')}")
        self._console.print(
            f"{answer['steps_done']} steps, {answer['bytes_per_second']:,.0f} bytes per second, "
            f"training loss {answer['loss']:.3f} nats per byte"
        )

    def _show(self, title: str, text: str) -> None:
        self._console.print(f"[bold]{title}[/bold]")
        self._console.print(text, markup=False, highlight=False)
        self._console.print()


@asynccontextmanager
async def _server(settings: DemoSettings, data_dir: Path) -> AsyncIterator[Client]:
    """A server as a child, and a client connected to it; leaving stops the server."""
    # In a new installation the first answers wait until kernels are compiled, and no host is there that would give up.
    options = ["--state-dir", str(settings.state_dir), "--allow-dir", str(data_dir), "--max-wait-s", "600"]
    command = ["-m", "bitlm_mcp", "serve", *options]
    parameters = StdioServerParameters(command=sys.executable, args=command, env=settings.environment)
    async with Client(stdio_client(parameters)) as client:
        yield client


def _known(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _data_file(settings: DemoSettings) -> Path:
    if settings.data:
        if not settings.data.is_file():
            raise DemoError(f"there is no file {settings.data}: give --data the path of one")
        return settings.data.resolve()
    file = settings.state_dir / "demo" / "language-reference.txt"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(default_text())
    return file.resolve()


def _comparison(data: bytes, train_bytes: int, before: dict[str, Any], after: dict[str, Any]) -> Table:
    """Bits per byte of the held-back part: the model, and compressors given everything before it."""
    train, held = data[:train_bytes], data[train_bytes:]
    table = Table(title="Bits per byte on the held-back part (lower is better)")
    table.add_column("coder")
    table.add_column("alone", justify="right")
    table.add_column("after the rest", justify="right")
    for name, compress in COMPRESSORS.items():
        alone = 8 * len(compress(held)) / len(held)
        given = 8 * (len(compress(data)) - len(compress(train))) / len(held)
        table.add_row(name, f"{alone:.3f}", f"{given:.3f}")
    table.add_section()
    table.add_row("bitlm before training", "", f"{before['bits_per_byte_static']:.3f}")
    table.add_row("bitlm, network alone, frozen", "", f"{after['bits_per_byte_network']:.3f}")
    table.add_row("bitlm, with context mixing, frozen", "", f"{after['bits_per_byte_static']:.3f}")
    table.add_row("[bold]bitlm, adapting as it codes[/bold]", "", f"[bold]{after['bits_per_byte']:.3f}[/bold]")
    return table


def _how_to_connect(state_dir: Path) -> str:
    command = str(Path(sys.executable).with_name("bitlm"))
    return (
        "Connect a host over stdio with\n"
        f'  {{"mcpServers": {{"bitlm": {{"command": "{command}", "args": ["serve", "--state-dir", "{state_dir}"]}}}}}}\n'
        f"or watch it all on a page: {command} serve --http --state-dir {state_dir}, then http://127.0.0.1:8765/"
    )
