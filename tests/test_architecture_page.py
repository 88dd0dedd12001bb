"""The page on architecture speaks of the tree as it is: every room in the order of imports, and no path that is not there."""

from __future__ import annotations

import re

import pytest

from tests.documents import ROOT, documents
from tests.test_architecture import CORE, MAX_FILE_LINES, MAX_FUNCTION_LINES, SERVER

PAGE = documents()["ARCHITECTURE.md"]
MODULES = re.compile(r"(?:bitlm_core|bitlm_mcp|tests|examples)(?:/[\w.-]+)*/?")


@pytest.mark.parametrize(("package", "order"), [("core", CORE), ("server", SERVER)])
def test_it_names_every_room_in_the_order_of_imports(package: str, order: list[str]) -> None:
    """A new room goes into the table where it stands in tests/test_architecture.py."""
    found = re.search(rf"<!-- {package}:begin -->\n(.*?)<!-- {package}:end -->", PAGE.text, re.DOTALL)
    assert found
    assert re.findall(r"`(\w+)`", "".join(line.split("|")[1] for line in found[1].splitlines())) == order


def test_every_path_that_it_names_is_there() -> None:
    named = {span for span in PAGE.spans if MODULES.fullmatch(span)}
    assert len(named) > 30
    assert not [path for path in named if not (ROOT / path).exists()]


def test_the_limits_that_are_told_are_those_that_are_held() -> None:
    assert f"({MAX_FILE_LINES} lines)" in PAGE.text
    assert f"at most {MAX_FILE_LINES} lines, a function {MAX_FUNCTION_LINES};" in documents()["CONTRIBUTING.md"].text
