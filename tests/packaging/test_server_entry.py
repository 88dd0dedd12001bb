"""server.json, the entry in the MCP registry: whole, true of the program, and of one version with everything else.

`make judges` holds it against the registry's published schema as well.
"""

from __future__ import annotations

import json
import re
import tomllib
from typing import Any

import typer.main

from bitlm_mcp import cli
from bitlm_mcp.manifest import bundled_manifest, installed_manifest
from bitlm_mcp.settings import MIN_TOKEN_LENGTH
from tests.mcp.command_line import done
from tests.packaging.conftest import ROOT
from tests.packaging.dockerfile import parse

ENTRY: dict[str, Any] = json.loads((ROOT / "server.json").read_text())
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
VERSION: str = PROJECT["version"]
LABELS = {
    name: value for step in parse((ROOT / "Dockerfile").read_text())[-1].all("LABEL") for name, value in step.pairs.items()
}
SERVE = typer.main.get_command(cli.app).commands["serve"]  # type: ignore[attr-defined]


def test_it_has_what_the_registry_requires() -> None:
    assert ENTRY["$schema"] == "https://static.modelcontextprotocol.io/schemas/2025-12-11/server.schema.json"
    assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+/[a-zA-Z0-9][a-zA-Z0-9._-]*", ENTRY["name"]) and len(ENTRY["name"]) <= 200
    assert 1 <= len(ENTRY["description"]) <= 100 and 1 <= len(ENTRY["title"]) <= 100
    kinds = [(package["registryType"], package["transport"]["type"]) for package in ENTRY["packages"]]
    assert kinds == [("pypi", "stdio"), ("oci", "stdio"), ("oci", "streamable-http")]
    assert [package["runtimeHint"] for package in ENTRY["packages"]] == ["uvx", "docker", "docker"]


def test_there_is_one_version() -> None:
    pypi, *images = ENTRY["packages"]
    assert ENTRY["version"] == pypi["version"] == VERSION
    assert {image["identifier"].rpartition(":")[2] for image in images} == {VERSION}
    assert not any("version" in image for image in images)
    assert LABELS["org.opencontainers.image.version"] == VERSION
    assert done("--version") == f"bitlm {VERSION}\n"
    assert installed_manifest("/bin/bitlm", [], VERSION)["version"] == bundled_manifest(VERSION, "", {})["version"] == VERSION


def test_readme_and_image_carry_its_name_by_which_the_registry_knows_the_owner() -> None:
    assert f"<!-- mcp-name: {ENTRY['name']} -->" in (ROOT / "README.md").read_text().splitlines()
    assert LABELS["io.modelcontextprotocol.server.name"] == ENTRY["name"]
    assert ENTRY["packages"][0]["identifier"] == PROJECT["name"]


def test_arguments_and_variables_are_those_of_the_program() -> None:
    options = {name for parameter in SERVE.params for name in parameter.opts}
    read = {parameter.envvar: parameter for parameter in SERVE.params if getattr(parameter, "envvar", None)}
    for package in ENTRY["packages"]:
        words = package.get("packageArguments", [])
        assert [word["value"] for word in words if word["type"] == "positional"] in ([], ["serve"])
        assert {word["name"] for word in words if word["type"] == "named"} <= options
        for variable in package.get("environmentVariables", []):
            assert variable["name"] in read
            assert variable.get("isSecret", False) == (variable["name"] == "BITLM_TOKEN")
            if variable.get("isSecret"):
                assert str(MIN_TOKEN_LENGTH) in variable["description"] and "value" not in variable
    remote = ENTRY["packages"][2]
    (header,) = remote["transport"]["headers"]
    assert header["isSecret"] and header["value"] == "Bearer {token}" and remote["transport"]["url"].endswith(":8765/mcp")


def test_hosts_can_make_a_command_and_headers_of_it() -> None:
    for package in ENTRY["packages"]:
        runtime = package.get("runtimeArguments", [])
        # Hosts write `docker run -i --rm` before these: a word that is no option would be taken for the image.
        assert all(word["type"] == "named" for word in runtime)
        for asked in [*runtime, *package["transport"].get("headers", [])]:
            assert set(re.findall(r"\{(\w+)\}", asked["value"])) == asked.get("variables", {}).keys()
