"""Every link of the documents leads somewhere, every document can be reached, and every file that is named exists."""

from __future__ import annotations

import re
from pathlib import PurePosixPath
from urllib.parse import urlsplit

import pytest

from bitlm_mcp import resources
from bitlm_mcp.guide.pages import pages
from tests.documents import HISTORY, ROOT, Document, documents, of_today


def target(document: Document, link: str) -> tuple[str, str]:
    """The path from the root and the anchor that a relative link means."""
    path, _, anchor = link.partition("#")
    if not path:
        return document.path, anchor
    meant = (ROOT / PurePosixPath(document.path).parent / path).resolve()
    assert meant.is_relative_to(ROOT), f"{document.path}: {link} leads out of the project"
    return meant.relative_to(ROOT).as_posix(), anchor


def is_external(link: str) -> bool:
    return "://" in link


@pytest.mark.parametrize("path", documents())
def test_links_lead_somewhere(path: str) -> None:
    document = documents()[path]
    for link in document.links:
        if is_external(link):
            parts = urlsplit(link)
            assert parts.scheme == "https" and "." in (parts.hostname or ""), f"{path}: {link}"
            continue
        meant, anchor = target(document, link)
        assert (ROOT / meant).exists(), f"{path}: {link}"
        assert not anchor or anchor in documents()[meant].anchors, f"{path}: {link}"


def test_every_document_can_be_reached_from_the_readme() -> None:
    reached, waiting = set[str](), ["README.md"]
    while waiting:
        path = waiting.pop()
        if path in documents() and path not in reached:
            reached.add(path)
            waiting += [target(documents()[path], link)[0] for link in documents()[path].links if not is_external(link)]
    assert documents().keys() == reached


def test_the_files_that_are_named_exist() -> None:
    named = {
        (document.path, span)
        for document in of_today()
        for span in document.spans
        if re.fullmatch(r"(?:tests|examples|bitlm_core|bitlm_mcp)/[\w./-]+", span)
    }
    assert len(named) > 40
    assert not [(path, file) for path, file in named if not (ROOT / file).exists()]


def test_resources_that_are_named_exist() -> None:
    known = {re.sub(r"\{\?.*", "", uri) for uri in re.findall(r"bitlm://\S+", resources.__doc__ or "")}
    known |= {f"bitlm://guide/{topic}" for topic in pages()}
    for document in of_today():
        named = {re.sub(r"\{\?.*", "", uri).rstrip(".,;:") for uri in re.findall(r"bitlm://[\w{}/?,.-]+", document.text)}
        assert named <= known, document.path


def test_history_is_kept_apart() -> None:
    assert documents().keys() > HISTORY
