"""The command `bitlm`: reads the command line and the environment, and hands over settings.

No other module does either. Errors of the user end with one line on stderr and exit code 2, a busy port with 1.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import anyio
import typer
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.progress import Progress

import bitlm_core
from bitlm_mcp.app import build_app
from bitlm_mcp.assembly import assemble
from bitlm_mcp.demo import DemoError, DemoSettings, default_text, run_demo
from bitlm_mcp.errors import PortError
from bitlm_mcp.server import package_version
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.transports import claim_stdio, run_http, run_stdio

app = typer.Typer(name="bitlm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
bench = typer.Typer(name="bench", no_args_is_help=True, help="Measure on this machine; the last line is JSON.")
app.add_typer(bench)


def default_state_dir() -> Path:
    """Where the XDG convention keeps the state of a program."""
    base = os.environ.get("XDG_STATE_HOME", "")
    # The convention says that a relative path must be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "state"
    return root / "bitlm"


def _implicit_roots() -> list[Path]:
    """The current directory; none where that would be everything, as hosts start servers in / or at home."""
    here = Path.cwd()
    return [] if here in (Path("/"), Path.home()) else [here]


def _fail(message: str, code: int) -> NoReturn:
    typer.echo(f"bitlm: {message}", err=True)
    raise typer.Exit(code)


def _settings(**values: object) -> ServerSettings:
    """Checked settings; a refusal is shown as sentences, not as pydantic's dump."""
    try:
        return ServerSettings.model_validate(values)
    except ValidationError as error:
        lines = []
        for detail in error.errors(include_url=False):
            option = "--" + str(detail["loc"][0]).replace("_", "-") + ": " if detail["loc"] else ""
            lines.append(option + detail["msg"].removeprefix("Value error, "))
        _fail("; ".join(lines), 2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bitlm {package_version()}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Models that learn any data at the level of bits, served to agents over MCP."""


@app.command()
def serve(
    http: Annotated[bool, typer.Option("--http", help="Serve /mcp, /sse and the dashboard over HTTP.")] = False,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.")] = 8765,
    state_dir: Annotated[
        Path | None,
        typer.Option(envvar="BITLM_STATE_DIR", help="Where everything is kept.", show_default="~/.local/state/bitlm"),
    ] = None,
    allow_dir: Annotated[
        list[Path] | None, typer.Option(help="Root of readable data files; repeatable.", show_default="here")
    ] = None,
    allow_host: Annotated[list[str] | None, typer.Option(help="Further host name of this server; repeatable.")] = None,
    token: Annotated[
        str | None, typer.Option(envvar="BITLM_TOKEN", help="Secret of HTTP callers; better set in the environment.")
    ] = None,
    insecure: Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without a token.")] = False,
    dashboard: Annotated[bool, typer.Option("--dashboard", help="Under stdio: also serve the dashboard.")] = False,
    threads: Annotated[int | None, typer.Option(help="Compute threads.", show_default="chosen by the engine")] = None,
    max_wait_s: Annotated[float, typer.Option(help="Longest time one call may wait for a job.")] = 45.0,
) -> None:
    """Serve one MCP client on stdin and stdout, or with --http any number over the network."""
    settings = _settings(
        state_dir=state_dir or default_state_dir(),
        allow_dirs=tuple(allow_dir or _implicit_roots()),
        allow_hosts=tuple(allow_host or ()),
        token=SecretStr(token) if token else None,
        **{"host": host, "port": port, "insecure": insecure, "dashboard": dashboard},
        **{"threads": threads, "max_wait_s": max_wait_s},
    )
    # Spinning compute threads starve everybody else on a busy machine; read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    # To stderr alone: under stdio, stdout is the protocol. Libraries speak up only when something is wrong.
    logging.basicConfig(stream=sys.stderr, level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger("bitlm").setLevel(logging.INFO)
    if http:
        _serve_http(settings)
    else:
        _serve_stdio(settings)


def _serve_http(settings: ServerSettings) -> None:
    parts = assemble(settings)
    try:
        run_http(build_app(parts.server, settings, parts.routes, parts.background), settings, on_stop=parts.on_stop)
    except PortError as error:
        _fail(error.message, 1)


def _serve_stdio(settings: ServerSettings) -> NoReturn:
    wires = claim_stdio()
    parts = assemble(settings)
    beside = build_app(parts.server, settings, parts.routes) if settings.dashboard else None
    run_stdio(parts.server, settings, on_stop=parts.on_stop, background=parts.background, dashboard=beside, wires=wires)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Time to train for.")] = 60.0,
    state_dir: Annotated[
        Path | None,
        typer.Option(envvar="BITLM_STATE_DIR", help="Where everything is kept.", show_default="~/.local/state/bitlm"),
    ] = None,
) -> None:
    """Show an agent's whole day over MCP: learn a text, ask, sample, watch, save, restart."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    state = (state_dir or default_state_dir()).resolve()
    settings = DemoSettings(state_dir=state, data=data, seconds=seconds, environment=dict(os.environ))
    try:
        anyio.run(run_demo, settings, Console(width=max(80, shutil.get_terminal_size().columns)))
    except* (DemoError, MCPError, OSError) as group:
        _fail("the demo stopped: " + "; ".join(str(error) for error in _leaves(group)), 1)


@bench.command()
def learn(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="CPU seconds to train for.")] = 180.0,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Compute threads.")] = 1,
    preset: Annotated[Literal["tiny", "small", "base"], typer.Option(help="Sizes of the network.")] = "small",
    mixing: Annotated[bool, typer.Option(help="Context mixing beside the network.")] = True,
    optimizer: Annotated[Literal["muon", "adamw"], typer.Option(help="Of the blocks' matrices.")] = "muon",
    batch_size: Annotated[int, typer.Option(min=1, max=4096, help="Windows per step.")] = 4,
    learning_rate: Annotated[float, typer.Option(min=1e-9, max=1, help="Peak of the schedule.")] = 3e-3,
    json_only: Annotated[bool, typer.Option("--json", help="Print the JSON line alone.")] = False,
) -> None:
    """Learn the first 90 % of a file for some CPU seconds, and score the rest: bits per byte, by protocol."""
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    try:
        content = data.read_bytes() if data else default_text()
        config = bitlm_core.EngineConfig(
            model=bitlm_core.preset_config(preset),
            training=bitlm_core.TrainingConfig(optimizer=optimizer, batch_size=batch_size, learning_rate=learning_rate),
            mixing=bitlm_core.MixingConfig() if mixing else None,
        )
        report = _with_progress(bitlm_core.learn_steps(content, config, seconds=seconds, threads=threads))
    except (OSError, bitlm_core.BitLMError) as error:
        _fail(str(error), 1)
    if not json_only:
        for name, value in report.flat().items():
            typer.echo(f"{name:22} {value}")
    typer.echo(json.dumps(report.flat()))


def _with_progress(steps: Iterator[float | bitlm_core.LearnReport]) -> bitlm_core.LearnReport:
    """Show a bar on stderr while the steps come; what they end with."""
    with Progress(console=Console(stderr=True)) as bar:
        task = bar.add_task("learning", total=1.0)
        for step in steps:
            if isinstance(step, float):
                bar.update(task, completed=step)
            else:
                return step
    raise bitlm_core.BitLMError("the benchmark ended without a report")


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def main() -> None:
    """Entry point of the console script."""
    app()
