"""On what is measured: processor, memory, versions, and the commit of the code. Nothing is loaded to find out."""

from __future__ import annotations

import hashlib
import os
import platform
import shutil
import subprocess
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import bitlm_core
import bitlm_mcp

VERSIONS = ("bitlm", "torch", "numpy", "numba", "mcp")
_CODE = Path(bitlm_mcp.__file__).parents[1]
_PACKAGES = ("bitlm_core", "bitlm_mcp")
_CPUINFO = Path("/proc/cpuinfo")
_GIB = 1 << 30


def describe_machine() -> dict[str, str | int]:
    """Processor, cores, memory in GiB, system, and the versions of Python and of what computes."""
    found: dict[str, str | int] = {
        "processor": _processor(),
        "cores": bitlm_core.usable_cores(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / _GIB),
        "system": f"{platform.system()} {platform.machine()}",
        "python": platform.python_version(),
    }
    return found | {name: _version(name) for name in VERSIONS}


def code_commit() -> str:
    """The commit that last changed the packages; with a digest of their files where they differ from it, or there is none."""
    commit = _git("log", "-1", "--format=%h", "--", *_PACKAGES)
    if commit and not _git("status", "--porcelain", "--", *_PACKAGES):
        return commit
    digest = hashlib.sha256()
    for path in sorted(path for name in _PACKAGES for path in (_CODE / name).rglob("*.py")):
        digest.update(path.relative_to(_CODE).as_posix().encode() + b"\0" + path.read_bytes())
    return f"files {digest.hexdigest()[:8]}" if not commit else f"{commit} and changes {digest.hexdigest()[:8]}"


def _git(*arguments: str) -> str:
    """What git says of the tree this code lies in; nothing where there is no git, or no tree of ours."""
    program = shutil.which("git")
    if program is None or not (_CODE / ".git").exists():
        return ""
    done = subprocess.run([program, "-C", str(_CODE), *arguments], capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip()


def _processor() -> str:
    lines = _CPUINFO.read_text(encoding="utf-8").splitlines() if _CPUINFO.exists() else []
    named = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return named[0] if named else platform.processor() or platform.machine()


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "none"
