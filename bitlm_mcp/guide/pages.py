"""The pages of the guide, as they lie beside this file: `TOPIC.md`, each with a title and a paragraph on what it is about."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from bitlm_mcp.errors import UnknownHandleError

MAX_PAGE_BYTES = 20_000
"""What an agent reads at once: some 5,000 tokens."""


@dataclass(frozen=True)
class Page:
    """One page. `title` is its first line, `about` the paragraph below that, `text` the whole."""

    topic: str
    title: str
    about: str
    text: str

    def linked(self, root: str) -> str:
        """The text for who reads it from elsewhere: its links to other pages lead to root/TOPIC."""
        return re.sub(r"\]\(([a-z_]+)\.md\)", rf"]({root}/\1)", self.text)


@cache
def pages() -> dict[str, Page]:
    """All pages by their topics, in alphabetical order; read once."""
    return {path.stem: _page(path) for path in sorted(Path(__file__).parent.glob("*.md"))}


def page(topic: str) -> Page:
    """The page of a topic. Raises UnknownHandleError, which names the topics that there are."""
    found = pages().get(topic)
    if found is None:
        raise UnknownHandleError("page of the guide", topic, list(pages()))
    return found


def _page(path: Path) -> Page:
    text = path.read_text("utf-8")
    title, about, *_ = text.split("\n\n", 2)
    return Page(topic=path.stem, title=title.removeprefix("# "), about=" ".join(about.split()), text=text)
