"""`bitlm push` and `bitlm pull`: checkpoints to a hub of models and from it, without a server.

The token comes from the environment alone, as HF_TOKEN. What is pulled is loaded once before it is stored. Ctrl-C ends a
transfer; the next pull goes on where it was. Importing this brings no torch.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer
from pydantic import ValidationError

import bitlm_core
from bitlm_mcp import options
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.transfers import in_use, keep_pulled
from bitlm_mcp.settings import HubSettings
from bitlm_mcp.shell import engine_of, one_line, progress_bar

Made = TypeVar("Made")

Name = Annotated[str, typer.Argument(metavar="NAME", help="Checkpoint of the state directory.")]
Repo = Annotated[str, typer.Argument(metavar="REPO", help="Repository, as OWNER/NAME.")]
Parent = Annotated[str | None, typer.Option(help="Commit to follow.", show_default="the latest")]
Public = Annotated[bool, typer.Option("--public", help="Let everybody see it.")]
License = Annotated[str | None, typer.Option("--license", help="For the model card, like apache-2.0.")]
Revision = Annotated[str | None, typer.Option(help="Branch, tag or commit.", show_default="the latest")]
Force = Annotated[bool, typer.Option("--force", help="Replace what is there.")]
JsonOnly = Annotated[bool, typer.Option("--json", help="Print one line of JSON.")]


def push(
    context: typer.Context,
    name: Name,
    repo: Repo,
    parent_commit: Parent = None,
    public: Public = False,
    license_id: License = None,
    json_only: JsonOnly = False,
    hub_endpoint: options.HubEndpoint = bitlm_core.HUB_ENDPOINT,
    hub_offline: options.HubOffline = False,
    state_dir: options.StateDir = None,
) -> None:
    """Push a checkpoint to a repository on a hub of models; the token is HF_TOKEN of the environment."""
    how: dict[str, Any] = {"parent_commit": parent_commit, "private": not public, "license_id": license_id}
    with _places(context.obj, hub_endpoint, hub_offline, state_dir) as (hub, store, scratch):
        made = _followed(
            lambda told: bitlm_core.push_checkpoint(hub, store, name, repo, scratch=scratch, told=told, **how), "pushing"
        )
        _tell(asdict(made), json_only)


def pull(
    context: typer.Context,
    repo: Repo,
    name: Name,
    revision: Revision = None,
    force: Force = False,
    json_only: JsonOnly = False,
    hub_endpoint: options.HubEndpoint = bitlm_core.HUB_ENDPOINT,
    hub_offline: options.HubOffline = False,
    state_dir: options.StateDir = None,
) -> None:
    """Pull what `bitlm push` has pushed, and store it as a checkpoint; what is damaged or foreign is refused."""
    with _places(context.obj, hub_endpoint, hub_offline, state_dir) as (hub, store, scratch):
        store.check_free(name, force)
        found = _followed(
            lambda told: bitlm_core.fetch_checkpoint(hub, repo, scratch=scratch, revision=revision, told=told), "pulling"
        )
        try:
            config = bitlm_core.EngineConfig(**bitlm_core.read_header(found.path, repo)["config"])
            bitlm_core.require_memory(bitlm_core.estimate_engine_bytes(config), f"the model in {repo}")
            keep_pulled(store, name, found, Entry(engine_of(found.path, repo), 0).facts, force)
        finally:
            found.path.unlink(missing_ok=True)
        told = asdict(found)
        del told["path"]
        _tell({"name": name, **told}, json_only)


@contextmanager
def _places(
    environment: Mapping[str, str], endpoint: str, offline: bool, state_dir: Path | None
) -> Iterator[tuple[bitlm_core.Hub, bitlm_core.CheckpointStore, Path]]:
    """The hub of these settings, the checkpoints at home, and the folder between them; what is refused inside is one line."""
    home = state_dir or options.state_home(environment)
    with one_line():
        try:
            hub = HubSettings.model_validate({"endpoint": endpoint, "offline": offline, "token": environment.get("HF_TOKEN")})
        except ValidationError as error:
            raise bitlm_core.ConfigError(error.errors(include_url=False)[0]["msg"].removeprefix("Value error, ")) from None
        with in_use(home) as scratch:
            yield hub.hub(), bitlm_core.CheckpointStore(home / "checkpoints"), scratch


def _followed(work: Callable[[Callable[[float], None]], Made], what: str) -> Made:
    """What the work returns, with a bar while it lasts."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=1.0)
        return work(lambda share: bar.update(task, completed=share))


def _tell(facts: Mapping[str, Any], json_only: bool) -> None:
    if json_only:
        typer.echo(json.dumps(facts))
        return
    for name, value in facts.items():
        typer.echo(f"{name:12} {value}")
