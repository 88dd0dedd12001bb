"""The page inside the agent's chat (MCP Apps, io.modelcontextprotocol/ui): a host that can shows what a tool tells as a page.

A tool is bound to its page by name. The page is one file, made at start-up from the files of `static` here and of the
dashboard, whose views it shares; it asks nobody but its host for anything, so its policy names no domain. Hosts without the
extension get the same answers as text and data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mcp.server.apps import Apps, ResourceCsp
from mcp.server.extension import Extension

from bitlm_mcp.extensions.inlining import inlined
from bitlm_mcp.schemas import ToolSpec

_OWN = Path(__file__).parent / "static"
_FOLDERS = (_OWN, Path(__file__).parents[1] / "dashboard" / "static")
_NOWHERE = ResourceCsp(connect_domains=[], resource_domains=[], frame_domains=[], base_uri_domains=[])


@dataclass(frozen=True)
class AppPage:
    """A page: its file, and what a host says of it."""

    file: str
    title: str
    description: str

    @property
    def uri(self) -> str:
        """Under which hosts ask for it."""
        return f"ui://bitlm/{self.file}"

    def html(self) -> str:
        """The document. Raises InliningError."""
        return inlined((_OWN / self.file).read_text("utf-8"), _FOLDERS)


PAGES = {
    "show_training": AppPage("training.html", "Training", "A model's curves and figures, live while it is trained."),
    "show_surprise": AppPage("surprise.html", "Surprise", "Where data surprises a model: a map, and the bytes of a place."),
}
"""By the name of the tool that a page belongs to."""


def app_uri(tool: str) -> str:
    """The page of a tool; empty where it has none."""
    return PAGES[tool].uri if tool in PAGES else ""


def apps(tools: Sequence[ToolSpec]) -> list[Extension]:
    """The extension with the pages of these tools; none where no tool has one."""
    pages = [PAGES[spec.tool_name] for spec in tools if spec.ui]
    extension = Apps()
    for page in pages:
        extension.add_html_resource(
            page.uri,
            page.html(),
            name=page.file.removesuffix(".html"),
            title=page.title,
            description=page.description,
            csp=_NOWHERE,
            prefers_border=True,
        )
    return [extension] if pages else []
