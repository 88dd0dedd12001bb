"""`bitlm bundle`: the folder of a desktop extension, and what is refused. `make judges` packs, unpacks and starts one."""

from __future__ import annotations

import json
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest

from bitlm_mcp import cli
from bitlm_mcp.server import package_version
from tests.mcp.command_line import done, refused

WHEEL = f"bitlm-{package_version()}-py3-none-any.whl"


@pytest.fixture
def wheel(tmp_path: Path) -> Path:
    path = tmp_path / WHEEL
    path.write_bytes(b"a wheel, as far as the command looks")
    return path


def test_the_folder_has_the_wheel_the_tools_and_the_versions_that_are_installed(wheel: Path, tmp_path: Path) -> None:
    assert WHEEL in done("bundle", tmp_path / "made", "--wheel", wheel)
    assert {path.name for path in (tmp_path / "made").iterdir()} == {WHEEL, "manifest.json", "pyproject.toml", "server.py"}
    assert (tmp_path / "made" / WHEEL).read_bytes() == wheel.read_bytes()
    manifest = json.loads((tmp_path / "made" / "manifest.json").read_text())
    offered = {tool["name"] for tool in manifest["tools"]}
    assert {"init_model", "train_step", "infer"} <= offered and "scale_model" not in offered
    assert all(choice["default"] for choice in manifest["user_config"].values())
    project = tomllib.loads((tmp_path / "made" / "pyproject.toml").read_text())
    pinned = dict(line.split("==") for line in project["tool"]["uv"]["constraint-dependencies"])
    assert pinned["torch"] == version("torch").partition("+")[0] and pinned["mcp"] == version("mcp")
    assert pinned["cryptography"] == version("cryptography"), "what an extra of a dependency brings, too"
    assert "bitlm" not in pinned and "pytest" not in pinned
    assert project["tool"]["uv"]["sources"]["bitlm"] == {"path": WHEEL}
    compile((tmp_path / "made" / "server.py").read_text(), "server.py", "exec")


def test_another_wheel_and_a_folder_that_exists_are_refused(wheel: Path, tmp_path: Path) -> None:
    assert "is no wheel of bitlm" in refused("bundle", tmp_path / "made", "--wheel", wheel.rename(tmp_path / "other.whl"))
    (tmp_path / "other.whl").rename(wheel)
    assert "exists: name a folder that does not" in refused("bundle", tmp_path, "--wheel", wheel)
    assert not (tmp_path / "made").exists()


def test_every_argument_of_an_extension_is_a_folder_to_read(monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[str] = []
    monkeypatch.setattr("sys.argv", ["server.py", "/a folder", "/b"])
    monkeypatch.setattr(cli, "app", given.extend)
    cli.serve_folders()
    assert given == ["serve", "--allow-dir", "/a folder", "--allow-dir", "/b"]
