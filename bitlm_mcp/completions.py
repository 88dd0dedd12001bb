"""Completions: ids and names that exist, for the arguments of prompts and resource templates."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from mcp.server import MCPServer
from mcp_types import Completion, CompletionArgument, CompletionContext, PromptReference, ResourceTemplateReference

from bitlm_mcp.guide.pages import pages
from bitlm_mcp.workspace import Workspace

MAX_VALUES = 100  # the protocol's own limit


def register_completions(workspace: Workspace) -> Callable[[MCPServer[Any]], None]:
    """A callback that adds completions over a workspace to a server."""

    async def complete(
        ref: PromptReference | ResourceTemplateReference, argument: CompletionArgument, context: CompletionContext | None
    ) -> Completion:
        return matching(_known(workspace, argument.name), argument.value)

    def register(server: MCPServer[Any]) -> None:
        server.completion()(complete)  # type: ignore[no-untyped-call]

    return register


def matching(known: Iterable[str], begun: str) -> Completion:
    """The names that begin with what was typed, then those that hold it."""
    names = sorted(set(known))
    first = [name for name in names if name.startswith(begun)]
    found = first + [name for name in names if begun in name and name not in first]
    return Completion(values=found[:MAX_VALUES], total=len(found), has_more=len(found) > MAX_VALUES)


def _known(workspace: Workspace, argument: str) -> Iterable[str]:
    snapshot = workspace.snapshot
    if argument == "model_id":
        return snapshot.models
    if argument == "dataset_id":
        return snapshot.datasets
    if argument == "topic":
        return pages()
    return snapshot.jobs if argument == "job_id" else ()
