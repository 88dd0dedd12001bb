"""Wheel and sdist hold what runs and nothing else, and say about themselves what pyproject.toml says."""

from __future__ import annotations

import email
import tarfile
import tomllib
import zipfile
from pathlib import Path

from packaging.requirements import Requirement

from tests.packaging.conftest import ROOT, Distributions, build, tracked

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
NAME = f"{PROJECT['name']}-{PROJECT['version']}"
PACKAGES = ("bitlm_core/", "bitlm_mcp/")


def contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def test_the_wheel_holds_every_file_of_the_packages_and_nothing_else(distributions: Distributions) -> None:
    about = {"METADATA", "RECORD", "WHEEL", "entry_points.txt", "top_level.txt", "licenses/LICENSE"}
    expected = {name for name in tracked() if name.startswith(PACKAGES)} | {f"{NAME}.dist-info/{name}" for name in about}
    found = contents(distributions.wheel)
    assert found.keys() == expected
    assert all(found[name] == (ROOT / name).read_bytes() for name in expected if name.startswith(PACKAGES))


def test_the_sdist_holds_what_the_wheel_is_built_from(distributions: Distributions) -> None:
    with tarfile.open(distributions.sdist) as archive:
        members = {member.name.partition("/")[2] for member in archive.getmembers() if not member.isdir()}
    beside = {"LICENSE", "MANIFEST.in", "README.md", "constraints.txt", "pyproject.toml"}
    made = {"PKG-INFO", "setup.cfg"} | {name for name in members if name.startswith("bitlm.egg-info/")}
    assert members == {name for name in tracked() if name.startswith(PACKAGES)} | beside | made


def test_the_wheel_of_the_tree_is_the_wheel_of_the_sdist(distributions: Distributions, tmp_path: Path) -> None:
    build(distributions.source, tmp_path, "--wheel")
    (direct,) = tmp_path.glob("*.whl")
    assert contents(direct) == contents(distributions.wheel)


def test_its_metadata_are_those_of_the_project(distributions: Distributions) -> None:
    files = contents(distributions.wheel)
    told = email.message_from_bytes(files[f"{NAME}.dist-info/METADATA"])
    assert (told["Name"], told["Version"]) == (PROJECT["name"], PROJECT["version"])
    assert (told["Requires-Python"], told["License-Expression"]) == (PROJECT["requires-python"], PROJECT["license"])
    assert told["Description-Content-Type"] == "text/markdown"
    assert files[f"{NAME}.dist-info/METADATA"].endswith((ROOT / "README.md").read_bytes().rstrip() + b"\n")
    required = {Requirement(line) for line in told.get_all("Requires-Dist", []) if "extra ==" not in line}
    assert required == set(map(Requirement, PROJECT["dependencies"]))
    assert told.get_all("Provides-Extra") == list(PROJECT["optional-dependencies"])
    assert not told.get_all("Project-URL"), "there is no address yet that would be true"
    assert files[f"{NAME}.dist-info/entry_points.txt"].decode().split() == [
        "[console_scripts]",
        "bitlm",
        "=",
        "bitlm_mcp.cli:main",
    ]
