"""Options that commands share, as typer reads them: each with its one line of help."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, get_args

import typer

from bitlm_core import Parallel
from bitlm_mcp.settings import Device, Toolset

HERE = "here"
STATE = "~/.local/state/bitlm"


def folder(text: str) -> Path:
    """A folder that is named. Raises typer.BadParameter for an empty name, which Path takes for the current folder."""
    if not text.strip():
        raise typer.BadParameter("it is empty: name a folder, or leave the option out")
    return Path(text)


_serving = "Serving"
_safety = "Who may call"
_tools = "What is offered"
_work = "How work is done and kept"

StateDir = Annotated[
    Path | None,
    typer.Option(
        envvar="BITLM_STATE_DIR", help="Where everything is kept.", show_default=STATE, parser=folder, metavar="<path>"
    ),
]

Http = Annotated[bool, typer.Option("--http", help="Serve /mcp, /sse and the dashboard over HTTP.", rich_help_panel=_serving)]
HostName = Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=_serving)]
Port = Annotated[int, typer.Option(help="Port to listen on; 0 takes any free one.", rich_help_panel=_serving)]
Dashboard = Annotated[
    bool, typer.Option("--dashboard", help="Under stdio: also serve the dashboard.", rich_help_panel=_serving)
]
TlsCert = Annotated[Path | None, typer.Option(help="Certificate chain (PEM), to serve https.", rich_help_panel=_serving)]
TlsKey = Annotated[Path | None, typer.Option(help="Private key (PEM) of the certificate.", rich_help_panel=_serving)]
Drain = Annotated[
    float, typer.Option(help="Over HTTP: seconds to serve on, /ready at 503, when told to stop.", rich_help_panel=_serving)
]
LogJson = Annotated[bool, typer.Option("--log-json", help="Log lines of JSON to stderr.", rich_help_panel=_serving)]

AllowDir = Annotated[
    list[Path] | None,
    typer.Option(
        help="Root of readable data files; repeatable.",
        show_default=HERE,
        rich_help_panel=_safety,
        parser=folder,
        metavar="<list[path]>",
    ),
]
AllowHost = Annotated[
    list[str] | None, typer.Option(help="Further host name of this server; repeatable.", rich_help_panel=_safety)
]
TrustedProxy = Annotated[
    list[str] | None,
    typer.Option(help="Address of a proxy, whose word on clients is taken; repeatable.", rich_help_panel=_safety),
]
Token = Annotated[
    str | None,
    typer.Option(envvar="BITLM_TOKEN", help="Secret of HTTP callers; better set in the environment.", rich_help_panel=_safety),
]
OAuthIssuer = Annotated[
    str | None, typer.Option(help="Accept access tokens of this authorization server.", rich_help_panel=_safety)
]
OAuthResource = Annotated[
    str | None, typer.Option(help="This server's URL, which access tokens must name.", rich_help_panel=_safety)
]
OAuthScope = Annotated[
    list[str] | None, typer.Option(help="Scope that an access token must have; repeatable.", rich_help_panel=_safety)
]
Insecure = Annotated[bool, typer.Option("--insecure", help="Listen beyond loopback without a token.", rich_help_panel=_safety)]
OpenPage = Annotated[bool, typer.Option("--open-page", help="Let who has no token look at the page.", rich_help_panel=_safety)]
MaxUpload = Annotated[int, typer.Option(help="Largest file that the page may upload, MiB.", rich_help_panel=_safety)]
CallsPerSecond = Annotated[float, typer.Option(help="Tool calls of one client in the long run.", rich_help_panel=_safety)]

Toolsets = Annotated[
    str | None,
    typer.Option(
        help=f"Sets of tools to offer, of {','.join(get_args(Toolset))}.",
        show_default="all but tuning and hub",
        rich_help_panel=_tools,
    ),
]
Tools = Annotated[str | None, typer.Option(help="Tools to offer beside the sets, as name,name.", rich_help_panel=_tools)]
ReadOnly = Annotated[bool, typer.Option("--read-only", help="Offer only tools that change nothing.", rich_help_panel=_tools)]

HubEndpoint = Annotated[
    str, typer.Option(envvar="HF_ENDPOINT", help="Hub of models that HF_TOKEN is for.", rich_help_panel=_tools)
]
HubOffline = Annotated[
    bool, typer.Option("--hub-offline", envvar="HF_HUB_OFFLINE", help="Ask nothing of a hub.", rich_help_panel=_tools)
]

Isolate = Annotated[bool, typer.Option("--isolate", help="Compute in a process of its own.", rich_help_panel=_work)]
Threads = Annotated[
    int | None, typer.Option(help="Compute threads.", show_default="chosen by the engine", rich_help_panel=_work)
]
DeviceName = Annotated[Device, typer.Option(help="Where models compute; auto: a GPU, if there is one.", rich_help_panel=_work)]
MaxWait = Annotated[float, typer.Option(help="Longest time one call may wait for a job.", rich_help_panel=_work)]
Autosave = Annotated[float, typer.Option(help="A training saves its model this often, seconds.", rich_help_panel=_work)]
_several = "Trainings that several processes share"
Nproc = Annotated[int, typer.Option(min=1, max=1024, help="Processes of this machine.", rich_help_panel=_several)]
Nodes = Annotated[int, typer.Option(min=1, max=64, help="Machines, each with as many.", rich_help_panel=_several)]
ParallelWay = Annotated[
    Parallel | None,
    typer.Option(help="They share rows, shards of blocks, or blocks.", show_default="ddp", rich_help_panel=_several),
]
ShardsEvery = Annotated[float, typer.Option(help="Seconds between sharded checkpoints.", rich_help_panel=_several)]
MaxRestarts = Annotated[int, typer.Option(help="Starts anew after a process was lost.", rich_help_panel=_several)]
RdzvEndpoint = Annotated[
    str | None, typer.Option(metavar="HOST:PORT", help="Where several machines meet: on this one.", rich_help_panel=_several)
]
KeepLast = Annotated[
    int | None,
    typer.Option(help="How many unpinned checkpoints of a model stay.", show_default="all", rich_help_panel=_work),
]
JobTtl = Annotated[float, typer.Option(help="How long ended jobs are remembered, seconds.", rich_help_panel=_work)]


def started_by_torchrun(environment: Mapping[str, str]) -> int | None:
    """How many processes torchrun has started, in one of them; None in any other process."""
    return int(environment["WORLD_SIZE"]) if "TORCHELASTIC_RUN_ID" in environment else None


def state_home(environment: Mapping[str, str]) -> Path:
    """Where the XDG convention keeps the state of a program."""
    base = environment.get("XDG_STATE_HOME", "")
    # The convention says that a relative path must be ignored.
    root = Path(base) if base and Path(base).is_absolute() else Path.home() / ".local" / "state"
    return root / "bitlm"
