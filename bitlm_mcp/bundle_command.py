"""`bitlm bundle`: the folder of a desktop extension, which `npx @anthropic-ai/mcpb pack` makes one file of.

In: a wheel of this program. Out: a folder with that wheel, a manifest with the tools that are offered, a pyproject.toml with
the versions that are installed here, and the file that starts the server. The host installs all of it with uv when the
extension is opened; nothing is installed or fetched here.
"""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Annotated

import typer

from bitlm_mcp.assembly import offered_tools
from bitlm_mcp.manifest import LAUNCHER, bundled_manifest
from bitlm_mcp.server import NAME, package_version
from bitlm_mcp.settings import ServerSettings
from bitlm_mcp.shell import one_line, refuse
from bitlm_mcp.workspace import Workspace

_LAUNCHER_CODE = '''\
"""Starts the server of this extension; each argument is a folder whose files its tools may read."""

from bitlm_mcp.cli import serve_folders

if __name__ == "__main__":
    serve_folders()
'''
_CPU_ONLY = """\
# The torch of the default index brings gigabytes for GPUs on Linux.
[[tool.uv.index]]
name = "pytorch-cpu"
url = "https://download.pytorch.org/whl/cpu"
explicit = true
"""


def bundle(
    folder: Annotated[Path, typer.Argument(help="Folder to make.")],
    wheel: Annotated[Path, typer.Option(help="Wheel of this program, of this version.")],
) -> None:
    """Make the folder of a desktop extension (MCPB), which `npx @anthropic-ai/mcpb pack FOLDER` makes one file of."""
    with one_line():
        named = f"{NAME}-{package_version()}-"
        refuse(not (wheel.is_file() and wheel.name.startswith(named)), f"{wheel} is no wheel of {NAME} {package_version()}")
        refuse(folder.exists(), f"{folder} exists: name a folder that does not")
        folder.mkdir(parents=True)
        shutil.copyfile(wheel, folder / wheel.name)
        python = metadata(NAME)["Requires-Python"]
        manifest = bundled_manifest(package_version(), python, _tools())
        (folder / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
        (folder / LAUNCHER).write_text(_LAUNCHER_CODE)
        (folder / "pyproject.toml").write_text(_project(wheel.name, python))
    typer.echo(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _tools() -> dict[str, str]:
    """The tools that a server offers by default, with their titles."""
    with tempfile.TemporaryDirectory(prefix="bitlm-bundle-") as scratch:
        return {spec.tool_name: spec.title for spec in offered_tools(Workspace(ServerSettings(state_dir=Path(scratch))))}


def _project(wheel: str, python: str) -> str:
    """What uv installs: the wheel, and everything that it needs in the very versions that are installed here."""
    pinned = "".join(f"  {json.dumps(f'{name}=={found}')},\n" for name, found in sorted(_installed(NAME).items()))
    return (
        f'[project]\nname = "{NAME}-extension"\nversion = "{package_version()}"\nrequires-python = "{python}"\n'
        f'dependencies = ["{NAME}", "torch"]\n\n'
        f"[tool.uv]\npackage = false\nconstraint-dependencies = [\n{pinned}]\n\n"
        f'[tool.uv.sources]\n{NAME} = {{ path = "{wheel}" }}\n'
        f'torch = {{ index = "pytorch-cpu", marker = "sys_platform == \'linux\'" }}\n\n{_CPU_ONLY}'
    )


def _installed(root: str) -> dict[str, str]:
    """Versions of everything that a distribution needs, and that is installed, by name; without itself."""
    found: dict[str, str] = {}
    waiting = [root]
    while waiting:
        for needed in requires(waiting.pop()) or []:
            name = re.split(r"[^A-Za-z0-9._-]", needed, maxsplit=1)[0].lower().replace("_", "-")
            if name in found or re.search(r"\bextra\b", needed):
                continue
            try:
                # A build of its own, such as +cpu, is for this machine; the version is for all.
                found[name] = version(name).partition("+")[0]
            except PackageNotFoundError:
                continue
            waiting.append(name)
    return found
