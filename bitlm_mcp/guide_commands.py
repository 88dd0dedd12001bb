"""`bitlm guide` and `bitlm tools`: what this program can do, told without a server."""

from __future__ import annotations

from typing import Annotated

import typer

from bitlm_mcp.assembly import all_tools, offered_tools
from bitlm_mcp.guide.pages import page, pages
from bitlm_mcp.guide.table import tool_table
from bitlm_mcp.shell import one_line
from bitlm_mcp.workspace import empty_workspace

Topic = Annotated[str | None, typer.Argument(metavar="[TOPIC]", help="The page to print.", show_default="all titles")]


def print_page(topic: Topic = None) -> None:
    """Print a page of the guide, in Markdown, or what pages there are."""
    with one_line():
        if topic is not None:
            typer.echo(page(topic).text, nl=False)
            return
    for found in pages().values():
        typer.echo(f"{found.topic:12} {found.about}")


def print_tools() -> None:
    """Print a table of all tools, in Markdown: the set, the name, what it does, and whether it changes anything."""
    with empty_workspace() as workspace:
        typer.echo(tool_table(all_tools(workspace), offered_tools(workspace)), nl=False)
