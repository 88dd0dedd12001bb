"""The changelog keeps its form, and tells of the version that there is."""

from __future__ import annotations

import re
import tomllib

from tests.documents import ROOT, documents

KINDS = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
TEXT = documents()["CHANGELOG.md"].text


def test_its_newest_version_is_that_of_the_package() -> None:
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    versions = re.findall(r"^## \[([\d.]+)\] - (unreleased|\d{4}-\d\d-\d\d)$", TEXT, re.MULTILINE)
    assert versions and versions[0][0] == version
    assert len(versions) == len(re.findall("^## ", TEXT, re.MULTILINE))


def test_changes_stand_under_their_kinds_in_order() -> None:
    for told in TEXT.split("\n## ")[1:]:
        kinds = re.findall(r"^### (.+)$", told, re.MULTILINE)
        assert kinds == [kind for kind in KINDS if kind in kinds] and kinds
        assert all(re.search(r"^- ", part, re.MULTILINE) for part in told.split("\n### ")[1:])


def test_it_tells_of_the_format_of_checkpoints() -> None:
    header = (ROOT / "bitlm_core" / "checkpoint" / "header.py").read_text()
    version = re.search(r"^VERSION = (\d+)$", header, re.MULTILINE)
    assert version and f"format {version[1]}" in TEXT
