"""The whole journey from the wheel: a new environment, an empty folder, an empty home, and no checkout in sight.

    python -m tests.packaging.wheel_journey dist/bitlm-….whl [--seconds 10]

A virtual environment is made in a scratch folder, the wheel is installed with the versions of constraints.txt, and every step
runs with `-I` or as the installed program, with an environment that names nothing of this one but what pip needs to find
packages. The last line is JSON; the exit code is 1 when a step failed. Minutes: torch is installed anew.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable
from pathlib import Path
from typing import get_args

from bitlm_mcp.host_entries import Host
from tests.packaging.conftest import ROOT

CLIENT = Path(__file__).with_name("stdio_client.py")
LIMIT_S = 900


class JourneyError(Exception):
    """A step did not do what it must."""


class Journey:
    """One traveller: a folder that holds the environment, the home, and the place where commands run."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.here = folder, folder / "here"
        self.bin = folder / "venv" / "bin"
        for name in ("here", "home"):
            (folder / name).mkdir()
        kept = {name: value for name, value in os.environ.items() if name.startswith("PIP_") or name.endswith("_proxy")}
        self.environment = kept | {"PATH": f"{self.bin}:/usr/bin:/bin", "HOME": str(folder / "home"), "LANG": "C.UTF-8"}

    def run(self, *command: str | Path, stdin: bytes = b"") -> str:
        """What a command prints; raises JourneyError with its output where it does not succeed."""
        words = [str(word) for word in command]
        found = subprocess.run(
            words, cwd=self.here, env=self.environment, input=stdin, capture_output=True, timeout=LIMIT_S, check=False
        )
        if found.returncode:
            raise JourneyError(
                f"{' '.join(words)} ended with {found.returncode}\n{found.stdout.decode()}{found.stderr.decode()}"
            )
        return found.stdout.decode()

    def bitlm(self, *arguments: str | Path) -> str:
        """What the installed command prints."""
        return self.run(self.bin / "bitlm", *arguments)


def install(journey: Journey, wheel: Path) -> str:
    """A new environment with the wheel in it."""
    venv.create(journey.folder / "venv", with_pip=True)
    pip = [journey.bin / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    journey.run(*pip, "--constraint", ROOT / "constraints.txt", wheel)
    code = "import bitlm_core, bitlm_mcp; print(bitlm_core.__file__, bitlm_mcp.__file__)"
    where = journey.run(journey.bin / "python", "-I", "-c", code)
    strangers = [path for path in where.split() if not path.startswith(str(journey.folder))]
    if strangers:
        raise JourneyError(f"imported from elsewhere: {strangers}")
    return where


def configs(journey: Journey) -> str:
    """A snippet for every host names the installed program."""
    for host in get_args(Host):
        if str(journey.bin / "bitlm") not in journey.bitlm("config", host):
            raise JourneyError(f"the snippet for {host} does not start the installed program")
    return f"{len(get_args(Host))} hosts"


def agent(journey: Journey) -> str:
    """A client over stdio: the answers before and after a restart are the same."""
    told = json.loads(journey.run(journey.bin / "python", "-I", CLIENT, journey.folder / "agent", journey.bin / "bitlm"))
    if told["first"] != told["second"] or told["steps"] != 3 or not told["guide_bytes"]:
        raise JourneyError(f"the agent's day went wrong: {told}")
    return f"{told['tools']} tools"


def shell(journey: Journey) -> str:
    """A file learned, and compressed and brought back, without a server."""
    file = journey.here / "file.txt"
    file.write_text("".join(f"line {number} of a small file\n" for number in range(400)))
    journey.bitlm("train", file, "--seconds", "2", "--save-as", "learned")
    journey.bitlm("compress", file, "file.packed", "--model", "learned")
    journey.bitlm("decompress", "file.packed", "back.txt", "--model", "learned")
    if (journey.here / "back.txt").read_bytes() != file.read_bytes():
        raise JourneyError("what came back is not what was compressed")
    return f"{file.stat().st_size:,} bytes as {(journey.here / 'file.packed').stat().st_size:,}"


def steps(wheel: Path, seconds: float) -> dict[str, Callable[[Journey], str]]:
    """What is done, in this order, by name."""
    return {
        "install": lambda journey: install(journey, wheel),
        "version": lambda journey: journey.bitlm("--version"),
        "doctor": lambda journey: journey.bitlm("doctor"),
        "demo": lambda journey: journey.bitlm("demo", "--seconds", f"{seconds:g}"),
        "config": configs,
        "agent": agent,
        "shell": shell,
    }


def main() -> int:
    """Run it; 0 when all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--seconds", type=float, default=10.0, help="training time of the demo")
    given = parser.parse_args()
    took: dict[str, float] = {}
    with tempfile.TemporaryDirectory(prefix="bitlm-journey-") as scratch:
        journey = Journey(Path(scratch).resolve())
        for name, step in steps(given.wheel.resolve(), given.seconds).items():
            started = time.perf_counter()
            try:
                print(f"== {name}\n{step(journey).rstrip()}", flush=True)
            except (JourneyError, subprocess.TimeoutExpired) as error:
                print(f"== {name} FAILED: {error}", flush=True)
                print(json.dumps({"failed": name, "seconds": took}))
                return 1
            took[name] = round(time.perf_counter() - started, 1)
    print(json.dumps({"failed": None, "wheel": given.wheel.name, "seconds": took}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
