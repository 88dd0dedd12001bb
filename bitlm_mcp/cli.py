"""The command `bitlm`: reads the command line and the environment, and hands over settings.

No other module does either. Errors of the user end with one line on stderr and exit code 2; a busy port and a
benchmark that cannot run, with 1.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Annotated, Any, NoReturn

import anyio
import typer
from mcp.shared.exceptions import MCPError
from pydantic import SecretStr, ValidationError
from rich.console import Console
from rich.markup import escape

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.app import build_app
from bitlm_mcp.assembly import assemble
from bitlm_mcp.bench_app import bench
from bitlm_mcp.bundle_command import bundle
from bitlm_mcp.compile_command import compile_kernels
from bitlm_mcp.compression_commands import compress, decompress
from bitlm_mcp.database import DatabaseError
from bitlm_mcp.demo import DemoError, DemoSettings, run_demo
from bitlm_mcp.doctor import examine
from bitlm_mcp.errors import PortError
from bitlm_mcp.guide_commands import print_page, print_tools
from bitlm_mcp.host_config import address_of, guide, snippet_for
from bitlm_mcp.host_entries import Host, Launch
from bitlm_mcp.hub_commands import pull, push
from bitlm_mcp.logs import log_to_stderr
from bitlm_mcp.patch_commands import patches
from bitlm_mcp.repair_commands import repair
from bitlm_mcp.sample_commands import sample
from bitlm_mcp.score_commands import score
from bitlm_mcp.server import package_version
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.telemetry_commands import telemetry
from bitlm_mcp.train_commands import train
from bitlm_mcp.transports import claim_stdio, run_http, run_stdio
from bitlm_mcp.worker_command import worker

REACHING_A_HUB = frozenset({"hub", "all", "push_checkpoint", "pull_checkpoint"})
"""Sets and tools with which a server needs the settings of a hub, and its token."""

SINGULAR = {"allow_dirs": "allow_dir", "allow_hosts": "allow_host", "trusted_proxies": "trusted_proxy"}
"""Settings of which an option gives one at a time."""

app = typer.Typer(name="bitlm", no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
app.add_typer(bench)
app.add_typer(telemetry)
app.command("guide")(print_page)
app.command("tools")(print_tools)
app.command()(score)
app.command()(compress)
app.command()(decompress)
app.command()(repair)
app.command()(patches)
app.command()(sample)
app.command()(train)
app.command()(push)
app.command()(pull)
app.command()(bundle)
app.command("compile")(compile_kernels)
app.command(hidden=True)(worker)


def default_state_dir() -> Path:
    """Where everything is kept, unless a command is told otherwise."""
    return options.state_home(os.environ)


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
            parts = [SINGULAR.get(part, part) for part in detail["loc"] if isinstance(part, str)]
            option = "-".join(parts).replace("_", "-")
            option = f"--{option}: " if option else ""
            lines.append(option + detail["msg"].removeprefix("Value error, "))
        _fail("; ".join(lines), 2)


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bitlm {package_version()}")
        raise typer.Exit


@app.callback()
def root(
    context: typer.Context,
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and stop.")
    ] = False,
) -> None:
    """Models that learn any data at the level of bits, served to agents over MCP."""
    # Spinning compute threads starve everybody else on a busy machine; read once, when torch is loaded.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    context.obj = dict(os.environ)


@app.command()
def serve(
    http: options.Http = False,
    host: options.HostName = "127.0.0.1",
    port: options.Port = 8765,
    dashboard: options.Dashboard = False,
    tls_cert: options.TlsCert = None,
    tls_key: options.TlsKey = None,
    drain_s: options.Drain = 0.0,
    log_json: options.LogJson = False,
    state_dir: options.StateDir = None,
    allow_dir: options.AllowDir = None,
    allow_host: options.AllowHost = None,
    trusted_proxy: options.TrustedProxy = None,
    token: options.Token = None,
    oauth_issuer: options.OAuthIssuer = None,
    oauth_resource: options.OAuthResource = None,
    oauth_scope: options.OAuthScope = None,
    insecure: options.Insecure = False,
    open_page: options.OpenPage = False,
    max_upload_mib: options.MaxUpload = 1024,
    calls_per_second: options.CallsPerSecond = 50.0,
    toolsets: options.Toolsets = None,
    tools: options.Tools = None,
    read_only: options.ReadOnly = False,
    hub_endpoint: options.HubEndpoint = bitlm_core.HUB_ENDPOINT,
    hub_offline: options.HubOffline = False,
    isolate: options.Isolate = False,
    threads: options.Threads = None,
    device: options.DeviceName = "auto",
    max_wait_s: options.MaxWait = 45.0,
    autosave_s: options.Autosave = 30.0,
    shards_every_s: options.ShardsEvery = 60.0,
    max_restarts: options.MaxRestarts = 3,
    rdzv_endpoint: options.RdzvEndpoint = None,
    keep_last: options.KeepLast = None,
    job_ttl_s: options.JobTtl = 7 * 86_400.0,
) -> None:
    """Serve one MCP client on stdin and stdout, or with --http any number over the network."""
    _serve(_serve_settings(locals()), _serve_http if http else _serve_stdio, log_json=log_json)


def _serve(settings: ServerSettings, serve: Callable[[ServerSettings], None], *, log_json: bool) -> None:
    log_to_stderr(as_json=log_json)
    # What torch.compile makes is loaded as code, so it belongs where nobody else can write.
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str(settings.state_dir / "compiled"))
    try:
        serve(settings)
    except (PortError, DatabaseError, bitlm_core.ConfigError) as error:
        _fail(error.message, 1)


def _serve_settings(given: dict[str, Any]) -> ServerSettings:
    """Settings from the options of `serve`, by their names; some are written differently on a command line."""
    issuer, resource = given["oauth_issuer"], given["oauth_resource"]
    if (issuer is None) != (resource is None):
        _fail("--oauth-issuer and --oauth-resource belong together: give both, or neither", 2)
    oauth = {"issuer": issuer, "resource": resource, "scopes": tuple(given["oauth_scope"] or ())}
    toolsets, tools = _listed(given["toolsets"]), _listed(given["tools"])
    hub = {"endpoint": given["hub_endpoint"], "offline": given["hub_offline"], "token": os.environ.get("HF_TOKEN")}
    written = {
        "state_dir": given["state_dir"] or default_state_dir(),
        **{name: tuple(given[option] or ()) for name, option in SINGULAR.items()},
        "allow_dirs": tuple(given["allow_dir"] or _implicit_roots()),
        "token": SecretStr(given["token"]) if given["token"] else None,
        "toolsets": toolsets,
        "tools": tools,
        "oauth": oauth if issuer or resource else None,
        "hub": {} if REACHING_A_HUB.isdisjoint(toolsets + tools) else hub,  # nobody else need care for these variables
    }
    return _settings(**{name: given[name] for name in ServerSettings.model_fields if name in given} | written)


def _listed(text: str | None) -> tuple[str, ...]:
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _serve_http(settings: ServerSettings) -> None:
    parts = assemble(settings)
    served = build_app(parts.server, settings, parts.routes, parts.background)
    run_http(served, settings, on_leave=parts.on_leave, on_stop=parts.on_stop)


def _serve_stdio(settings: ServerSettings) -> NoReturn:
    wires = claim_stdio()
    parts = assemble(settings)
    beside = build_app(parts.server, settings, parts.routes) if settings.dashboard else None
    run_stdio(parts.server, settings, on_stop=parts.on_stop, background=parts.background, dashboard=beside, wires=wires)


@app.command()
def demo(
    data: Annotated[Path | None, typer.Option(help="File to learn.", show_default="Python's language reference")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="Time to train for.")] = 60.0,
    state_dir: options.StateDir = None,
) -> None:
    """Show an agent's whole day over MCP: learn a text, ask, sample, watch, save, restart."""
    state = (state_dir or default_state_dir()).resolve()
    settings = DemoSettings(state_dir=state, data=data, seconds=seconds, environment=dict(os.environ))
    try:
        anyio.run(run_demo, settings, Console(width=max(80, shutil.get_terminal_size().columns)))
    except* (DemoError, MCPError, OSError) as group:
        _fail("the demo stopped: " + "; ".join(str(error) for error in _leaves(group)), 1)


@app.command()
def doctor(state_dir: options.StateDir = None) -> None:
    """Look whether this installation and the state directory are well; the exit code is 1 when something is not."""
    console, bad = Console(), []

    async def look() -> None:
        async for finding in examine((state_dir or default_state_dir()).resolve(), dict(os.environ)):
            mark = "[green]good[/green]" if finding.good else "[red]BAD [/red]"
            console.print(f"{mark}  {escape(finding.what)}: {escape(finding.found)}", highlight=False, soft_wrap=True)
            bad.extend([] if finding.good else [finding.what])

    anyio.run(look)
    if bad:
        _fail(f"not well: {', '.join(bad)}", 1)


@app.command()
def config(
    host: Annotated[
        Host | None, typer.Argument(help="The host that is to use this server.", show_default="a guide for all of them")
    ] = None,
    http: Annotated[
        str | None, typer.Option(metavar="URL", help="Reach a server that listens there, instead of starting one.")
    ] = None,
    state_dir: options.StateDir = None,
    allow_dir: options.AllowDir = None,
) -> None:
    """Print the exact snippet with which a host starts or reaches this server, and where it belongs; or all, as Markdown."""
    try:
        server = _launch(state_dir, allow_dir) if http is None else address_of(http, token="BITLM_TOKEN" in os.environ)
        if host is None:
            typer.echo(guide(server))
            return
        snippet = snippet_for(host, server)
    except bitlm_core.ConfigError as error:
        _fail(error.message, 2)
    typer.echo(f"# {snippet.where}\n# to see that it works: {snippet.check}\n# to undo it: {snippet.undo}", err=True)
    typer.echo(snippet.text)


def _launch(state_dir: Path | None, allow_dir: list[Path] | None) -> Launch:
    """How a host is to start this very program."""
    arguments = ["serve", "--state-dir", str((state_dir or default_state_dir()).resolve())]
    for root in allow_dir or _implicit_roots():
        arguments += ["--allow-dir", str(root.resolve())]
    return Launch(str(Path(sys.executable).with_name("bitlm")), tuple(arguments), package_version())


def _leaves(group: BaseExceptionGroup[Exception]) -> Iterator[BaseException]:
    for error in group.exceptions:
        if isinstance(error, BaseExceptionGroup):
            yield from _leaves(error)
        else:
            yield error


def main() -> None:
    """Entry point of the console script."""
    app()


def serve_folders() -> None:
    """Entry point of desktop extensions, which know a list of folders and no options: files in each may be read."""
    app(["serve", *(part for folder in sys.argv[1:] for part in ("--allow-dir", folder))])
