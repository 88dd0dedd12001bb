"""What is given to users, made once: both archives, built from a copy of the tracked files, and the wheel unpacked."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def tracked() -> list[str]:
    """The files of the project, as paths below its root; new ones too, if git does not ignore them."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split("\0")
    return sorted(name for name in listed if name and (ROOT / name).is_file())


def build(source: Path, out: Path, *kinds: str) -> None:
    """Archives of a source tree, by the build backend that is installed: nothing is fetched."""
    command = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(out), *kinds, str(source)]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 0, found.stdout + found.stderr


@dataclass(frozen=True)
class Distributions:
    """The tree that was built from, the two archives, and what is in the wheel."""

    source: Path
    sdist: Path
    wheel: Path
    unpacked: Path


@pytest.fixture(scope="session")
def distributions(tmp_path_factory: pytest.TempPathFactory) -> Distributions:
    """`python -m build`: the sdist of the tree, and the wheel of that sdist."""
    base = tmp_path_factory.mktemp("distributions")
    for name in tracked():
        (base / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, base / "source" / name)
    build(base / "source", base / "dist")
    (sdist,), (wheel,) = (base / "dist").glob("*.tar.gz"), (base / "dist").glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(base / "unpacked")
    return Distributions(base / "source", sdist, wheel, base / "unpacked")
