"""The project's documents, and what stands in them: links, headings, blocks of code and code within sentences."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[1]
HISTORY = {"examples/RECORDS.md", "examples/report/report.md", "CHANGELOG.md"}
"""What was true when it was written; everything else speaks of the tree as it is."""
_NOT_OURS = {"node_modules", "build", "dist", "output"}
_FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINKS = re.compile(r"\]\(([^)\s]+)\)|(?:src|srcset|href)=\"([^\"]+)\"")


@dataclass(frozen=True)
class Document:
    """One file. `path` is relative to the root, `prose` the text without its fenced blocks."""

    path: str
    text: str

    @property
    def blocks(self) -> list[tuple[str, str]]:
        """Fenced blocks of code: language and text."""
        return _FENCED.findall(self.text)

    @property
    def prose(self) -> str:
        return _FENCED.sub("", self.text)

    @property
    def spans(self) -> list[str]:
        """Code within sentences; what is broken over two lines is one."""
        return [" ".join(span.split()) for span in re.findall(r"(?<!`)`([^`]+)`(?!`)", self.prose)]

    @property
    def links(self) -> list[str]:
        return [inline or attribute for inline, attribute in _LINKS.findall(re.sub(r"`[^`]*`", "", self.prose))]

    @property
    def anchors(self) -> set[str]:
        """What a link may name after `#`, made of the headings as GitHub makes it."""
        headings = re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@cache
def documents() -> dict[str, Document]:
    """All Markdown of the project by its path."""
    found = {}
    for folder, folders, files in os.walk(ROOT):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_OURS]
        for file in (Path(folder) / name for name in files if name.endswith(".md")):
            path = file.relative_to(ROOT).as_posix()
            found[path] = Document(path, file.read_text("utf-8"))
    return dict(sorted(found.items()))


def of_today() -> list[Document]:
    """Those that speak of the tree as it is."""
    return [document for path, document in documents().items() if path not in HISTORY]
