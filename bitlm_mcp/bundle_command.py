"""`bitlm bundle`: the folder of a desktop extension, which `npx @anthropic-ai/mcpb pack` makes one file of.

In: a wheel of this program. Out: a folder with that wheel, a manifest with the tools that are offered, a pyproject.toml with
the versions that are installed here, and the file that starts the server. The host installs all of it with uv when the
extension is opened; nothing is installed or fetched here.
"""

from __future__ import annotations

import json
import re
import shutil
from importlib.metadata import PackageNotFoundError, metadata, requires, version
from pathlib import Path
from typing import Annotated

import typer

from bitlm_mcp.assembly import offered_tools
from bitlm_mcp.manifest import LAUNCHER, bundled_manifest
from bitlm_mcp.server import NAME, package_version
from bitlm_mcp.shell import one_line, refuse
from bitlm_mcp.workspace import empty_workspace

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
        refuse(
            not (wheel.is_file() and wheel.name.startswith(named)),
            f"{wheel} is no wheel of {NAME} {package_version()}: give the file {named}py3-none-any.whl",
        )
        refuse(folder.exists(), f"{folder} exists: name a folder that does not")
        python = metadata(NAME)["Requires-Python"]
        texts = {
            "manifest.json": json.dumps(bundled_manifest(package_version(), python, _tools()), indent=2) + "\n",
            LAUNCHER: _LAUNCHER_CODE,
            "pyproject.toml": _project(wheel.name, python),
        }
        folder.mkdir(parents=True)
        shutil.copyfile(wheel, folder / wheel.name)
        for name, text in texts.items():
            (folder / name).write_text(text)
    typer.echo(f"{folder}: {', '.join(sorted(path.name for path in folder.iterdir()))}")


def _tools() -> dict[str, str]:
    """The tools that a server offers by default, with their titles."""
    with empty_workspace() as workspace:
        return {spec.tool_name: spec.title for spec in offered_tools(workspace)}


def _project(wheel: str, python: str) -> str:
    """What uv installs: the wheel, and everything that it needs in the very versions that are installed here."""
    pinned = "".join(f"  {json.dumps(f'{name}=={found}')},\n" for name, found in sorted(_installed().items()))
    return (
        f'[project]\nname = "{NAME}-extension"\nversion = "{package_version()}"\nrequires-python = "{python}"\n'
        f'dependencies = ["{NAME}", "torch"]\n\n'
        f"[tool.uv]\npackage = false\nconstraint-dependencies = [\n{pinned}]\n\n"
        f'[tool.uv.sources]\n{NAME} = {{ path = "{wheel}" }}\n'
        f'torch = {{ index = "pytorch-cpu", marker = "sys_platform == \'linux\'" }}\n\n{_CPU_ONLY}'
    )


def _installed() -> dict[str, str]:
    """Versions of everything that this program needs, and that is installed, by name; without itself."""
    found: dict[str, str] = {}
    asked = [(NAME, "")]
    for name, extra in asked:  # which grows meanwhile
        for needed in requires(name) or []:
            other, extras = re.findall(r"^([\w.-]+)\s*(?:\[(.*?)\])?", needed)[0]
            only = re.search(r"extra == ['\"]([\w-]+)", needed)
            if only and only[1] != extra:
                continue
            other = other.lower().replace("_", "-")
            try:
                # A build of its own, such as +cpu, is for this machine; the version is for all.
                found[other] = version(other).partition("+")[0]
            except PackageNotFoundError:
                continue
            asked += [(other, each) for each in ["", *extras.split(",")] if (other, each) not in asked]
    return found
