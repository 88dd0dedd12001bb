"""The table of tools: a line each, in the tool's own words, grouped by the sets that `--toolsets` chooses from.

In: specifications, all and those that a server offers unasked. Out: Markdown.
"""

from __future__ import annotations

from collections.abc import Sequence

from bitlm_mcp.schemas import RARE, ToolSpec, build_tool

HEAD = "| set | tool | what it does | hint |\n|---|---|---|---|\n"
MARK = "⁺"


def tool_table(tools: Sequence[ToolSpec], offered: Sequence[ToolSpec]) -> str:
    """A table of `tools`: sets in their order, those of which nothing is `offered` unasked at the end, and marked so."""
    unasked = {spec.toolset for spec in offered}
    sets = sorted(dict.fromkeys(spec.toolset for spec in tools), key=lambda name: name not in unasked)
    lines = []
    for name in sets:
        shown = f"`{name}`" if name in unasked else f"`{name}`, on demand"
        for spec in (spec for spec in tools if spec.toolset == name):
            mark = MARK if _has_rare(spec) else ""
            lines.append(f"| {shown} | `{spec.tool_name}`{mark} | {_first_line(spec)} | {_hint(spec)} |\n")
            shown = ""
    return HEAD + "".join(lines)


def _has_rare(spec: ToolSpec) -> bool:
    return any(RARE.items() <= parameter.items() for parameter in build_tool(spec).checked["properties"].values())


def _first_line(spec: ToolSpec) -> str:
    return spec.description.splitlines()[0].replace("|", "\\|")


def _hint(spec: ToolSpec) -> str:
    """What the annotations tell a host, in a word."""
    if spec.read_only:
        return "reads"
    return "destructive" if spec.destructive else "writes"
