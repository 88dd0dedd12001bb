"""The Dockerfile without an engine: every step executed in a clean root, and the image's command run in it.

    python -m tests.packaging.image_steps [--base FOLDER] [--build-arg NAME=VALUE] [--scratch FOLDER]

What is real: the steps, in their order, by /bin/sh in a root file system of their own (chroot, with a mount and a process
namespace), as root or as the USER; the files that .dockerignore lets through; ENV, WORKDIR, COPY between the stages; the
command as process 1 of its namespace, as the image's user, with the image's environment and nothing else; the health check
beside it; SIGTERM. File times lose their fractions before the command runs, as in the archive of a layer.

What stands in for something: Debian 12 with its own Python 3.11, made by debootstrap, is the base in the place of
python:3.11-slim-bookworm; /usr/local/bin/python is a link in it. The network is the host's, so the port must be free. How this
machine's pip finds packages (PIP_*, certificates, resolv.conf) is lent to the build. What is not tried: layers, the registry,
VOLUME and EXPOSE as an engine treats them (their values are checked), --read-only, limits of memory.

Needs root and debootstrap. The last line is JSON; the exit code is 1 when something failed.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import anyio
from mcp import Client
from mcp.client.stdio import StdioServerParameters, stdio_client

from tests.packaging.conftest import ROOT, tracked
from tests.packaging.dockerfile import Stage, Step, health_command, parse, visible

SUITE, INCLUDED = "bookworm", "python3,python3-venv,ca-certificates"
BASE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
TOKEN = "0123456789abcdef-of-a-container"  # noqa: S105
LENT = ("PIP_FIND_LINKS", "PIP_CERT", "PIP_DEFAULT_TIMEOUT", "PIP_INDEX_URL", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE")
STOP_S, HEALTHY_S, LIMIT_S = 10.0, 60.0, 1200.0
# As engines do: a /proc of the new process namespace, and shared memory. The shell then becomes the command.
ENTER = 'mount -t proc proc "$1/proc" && mount -t tmpfs -o mode=1777 shm "$1/dev/shm" && shift && exec "$@"'


class ImageError(Exception):
    """A step failed, or the image does not do what it must."""


@dataclass
class Container:
    """A root file system, and what the instructions so far say about processes in it."""

    root: Path
    env: dict[str, str] = field(default_factory=lambda: {"PATH": BASE_PATH})
    build_env: dict[str, str] = field(default_factory=dict)
    workdir: str = "/"
    user: str = "root"

    def command(self, *words: str, lend: bool = False, **env: str) -> list[str]:
        """What starts `words` in the root, in namespaces of their own, with the environment of the image alone."""
        seen = self.env | (self.build_env if lend else {}) | {"HOME": self._home()} | env
        inside = ["/bin/sh", "-c", f'cd {self.workdir} && exec "$@"', "sh", *words]
        chroot = ["chroot", f"--userspec={self.user}", f"--groups={self.user}", str(self.root), "/usr/bin/env", "-i"]
        entered = [*chroot, *(f"{name}={value}" for name, value in seen.items()), *inside]
        return ["unshare", "--mount", "--pid", "--fork", "--kill-child", "/bin/sh", "-c", ENTER, "sh", str(self.root), *entered]

    def run(self, *words: str, lend: bool = False) -> str:
        """What a command prints. Raises ImageError where it does not succeed."""
        found = subprocess.run(
            self.command(*words, lend=lend),
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if found.returncode:
            raise ImageError(f"{' '.join(words)} ended with {found.returncode}\n{found.stdout}{found.stderr}")
        return found.stdout

    def inside(self, path: str) -> Path:
        """Where a path of the image lies on the host."""
        return self.root / (path if path.startswith("/") else f"{self.workdir}/{path}").lstrip("/")

    def _home(self) -> str:
        lines = (self.root / "etc/passwd").read_text().splitlines()
        return next(parts[5] for line in lines if (parts := line.split(":"))[0] == self.user)


def base_root(folder: Path) -> None:
    """Debian with its Python, as the base image; and how this machine resolves names."""
    command = ["debootstrap", "--variant=minbase", f"--include={INCLUDED}", SUITE, str(folder)]
    found = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if found.returncode:
        raise ImageError(f"debootstrap ended with {found.returncode}: {found.stdout[-2000:]}{found.stderr[-2000:]}")
    for name in ("python", "python3"):
        (folder / "usr/local/bin" / name).symlink_to("/usr/bin/python3")


def lend_network(container: Container) -> None:
    """What an engine's build gets from its host: names, and here also where pip finds packages."""
    shutil.copy("/etc/resolv.conf", container.root / "etc/resolv.conf")
    for name in LENT:
        value = os.environ.get(name)
        if not value:
            continue
        container.build_env[name] = value
        if value.startswith("/"):
            there = container.inside(value)
            there.parent.mkdir(parents=True, exist_ok=True)
            if Path(value).is_dir():
                shutil.copytree(value, there, dirs_exist_ok=True)
            else:
                shutil.copy(value, there)


def copy_into(container: Container, step: Step, context: list[str], others: dict[str, Container]) -> None:
    """COPY: from another stage, or what the engine may see of the project."""
    *sources, target = [word for word in step.words if not word.startswith("--")]
    there = container.inside(target.rstrip("/") or "/")
    origin = step.options.get("from")
    for source in sources:
        if origin:
            shutil.copytree(others[origin].inside(source), there, symlinks=True, dirs_exist_ok=True)
            continue
        files = [name for name in context if name == source or name.startswith(f"{source}/")]
        if not files:
            raise ImageError(f"COPY {source}: the engine sees no such file")
        for name in files:
            # A folder's content is copied, a file keeps its name below a folder.
            copied = there / (name.removeprefix(f"{source}/") if name != source else Path(source).name)
            copied.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, copied)


def build(stages: list[Stage], base: Path, scratch: Path, arguments: dict[str, str]) -> Container:
    """The root of the last stage, after all steps. Raises ImageError where one fails."""
    context = [name for name in tracked() if visible(name, (ROOT / ".dockerignore").read_text())]
    made: dict[str, Container] = {}
    for number, stage in enumerate(stages):
        if not stage.base.startswith("python:3.11-slim"):
            raise ImageError(f"{stage.base} is no base that this stands in for")
        container = Container(scratch / f"stage{number}")
        subprocess.run(["cp", "-a", "--reflink=auto", str(base), str(container.root)], check=True)
        lend_network(container)
        for step in stage.steps:
            started = time.perf_counter()
            execute(container, step, context, made, arguments)
            print(f"{time.perf_counter() - started:7.1f} s  {step.name} {step.text[:90]}", flush=True)
        made[stage.name] = container
    whole_seconds(container, "/opt/bitlm", container.env["NUMBA_CACHE_DIR"])
    return container


def execute(
    container: Container, step: Step, context: list[str], others: dict[str, Container], arguments: dict[str, str]
) -> None:
    """One instruction."""
    if step.name == "RUN":
        container.run("/bin/sh", "-c", step.text, lend=True)
    elif step.name == "COPY":
        copy_into(container, step, context, others)
    elif step.name == "ENV":
        container.env |= step.pairs
    elif step.name == "ARG":
        container.build_env |= {name: arguments.get(name, value) for name, value in step.pairs.items()}
    elif step.name == "WORKDIR":
        container.workdir = step.text
        container.inside(step.text).mkdir(parents=True, exist_ok=True)
    elif step.name == "USER":
        container.user = step.text


def whole_seconds(container: Container, *folders: str) -> None:
    """What the archive of a layer does to the times of files."""
    for folder in folders:
        for path in container.inside(folder).rglob("*"):
            if not path.is_symlink():
                os.utime(path, (int(path.stat().st_atime), int(path.stat().st_mtime)))


def kernels(container: Container) -> dict[str, int]:
    """The compiled kernels, and when each was written."""
    folder = container.inside(container.env["NUMBA_CACHE_DIR"])
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*.nbc")}


@contextmanager
def running(container: Container, *words: str, **env: str) -> Iterator[subprocess.Popen[str]]:
    """The command, as process 1 of its namespace."""
    command = container.command(*words, **env)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def process_one(process: subprocess.Popen[str]) -> int:
    """The id, on the host, of the command inside."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def health(container: Container, check: list[str]) -> int:
    """The exit code of the health check."""
    return subprocess.run(container.command(*check), capture_output=True, timeout=LIMIT_S, check=False).returncode


def refuses(container: Container, command: list[str]) -> str:
    """Without a token the command ends with 2, and says why."""
    found = subprocess.run(container.command(*command), capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if found.returncode != 2 or "no token is set" not in found.stderr:
        raise ImageError(f"without a token the command ended with {found.returncode}: {found.stderr}")
    return found.stderr.strip()


def serves(container: Container, command: list[str], check: list[str]) -> str:
    """With a token the command becomes healthy, and SIGTERM ends it with 0 in time; before and after it is not healthy."""
    if health(container, check) == 0:
        raise ImageError("the port is in use on this machine: the health check finds a server that is not ours")
    with running(container, *command, BITLM_TOKEN=TOKEN) as process:
        started = time.perf_counter()
        while health(container, check):
            if process.poll() is not None or time.perf_counter() - started > HEALTHY_S:
                raise ImageError("it was not healthy in time")
        healthy = time.perf_counter() - started
        os.kill(process_one(process), signal.SIGTERM)
        started = time.perf_counter()
        if code := process.wait(STOP_S):
            raise ImageError(f"SIGTERM ended it with {code}: {process.stdout.read() if process.stdout else ''}")
        ended = time.perf_counter() - started
    if health(container, check) != 1:
        raise ImageError("the health check should fail with 1 once the server is gone")
    return f"healthy after {healthy:.1f} s, ended {ended:.1f} s after SIGTERM"


def answers(container: Container, entrypoint: list[str]) -> str:
    """One client on stdin and stdout creates, trains, asks and saves; no kernel is compiled for it."""
    before, started = kernels(container), time.perf_counter()
    program, *arguments = container.command(*entrypoint, "serve")

    async def story() -> None:
        async with Client(stdio_client(StdioServerParameters(command=program, args=arguments))) as client:
            for tool, given in (
                ("init_model", {"model_id": "m", "preset": "tiny"}),
                ("train_step", {"model_id": "m", "text": "abc abc abc " * 40, "steps": 3, "wait_s": 45}),
                ("infer", {"model_id": "m", "prompt": "abc", "max_new_bytes": 16, "seed": 7}),
                ("save_checkpoint", {"model_id": "m", "name": "kept"}),
            ):
                answer = await client.call_tool(tool, given)
                if answer.is_error:
                    raise ImageError(f"{tool}: {answer.content}")

    anyio.run(story)
    if not before or kernels(container) != before:
        raise ImageError(f"kernels were compiled again: {len(before)} before, {len(kernels(container))} after")
    if not list(container.inside(container.env["BITLM_STATE_DIR"]).glob("checkpoints/kept/*")):
        raise ImageError("the checkpoint is not in the state directory")
    return f"{len(before)} kernels, none compiled again, {time.perf_counter() - started:.1f} s"


def compiled(container: Container) -> str:
    """Every module that a start imports, and torch, is found compiled: its user could not keep what it compiles itself."""
    code = (
        "import importlib.util, pathlib, sys, bitlm_mcp.cli, torch\n"
        "files = [getattr(module, '__file__', None) or '' for module in sys.modules.values()]\n"
        "sources = [pathlib.Path(file) for file in files if 'site-packages' in file and file.endswith('.py')]\n"
        "def good(source):\n"
        "    there = pathlib.Path(importlib.util.cache_from_source(source))\n"
        "    return there.exists() and there.read_bytes()[8:12] == int(source.stat().st_mtime).to_bytes(4, 'little')\n"
        "bad = [str(source) for source in sources if not good(source)]\n"
        "print(len(sources), 'modules')\n"
        "sys.exit(f'not compiled: {bad[:5]}' if bad else 0)"
    )
    return container.run("python", "-c", code).strip()


def owns(container: Container) -> str:
    """The user may write the state and add kernels, and nothing of the program."""
    container.run("/bin/sh", "-c", 'test "$(id -u)" = 10001 && touch "$BITLM_STATE_DIR/x" "$NUMBA_CACHE_DIR/x"')
    container.run("/bin/sh", "-c", "! touch /opt/bitlm/x 2>/dev/null && ! touch /data/x 2>/dev/null && ! test -w /etc")
    return container.run("id").strip()


def main() -> int:
    """Build and try; 0 when all went well."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--base", type=Path, help="root made by debootstrap before, which is copied")
    parser.add_argument("--build-arg", action="append", default=[], help="as docker build takes it")
    parser.add_argument("--scratch", type=Path, help="where the roots are made; a new folder if left out")
    given = parser.parse_args()
    if os.geteuid() or not (given.base or shutil.which("debootstrap")):
        print("this needs root, and debootstrap from Debian", file=sys.stderr)
        return 1
    arguments = dict(pair.partition("=")[::2] for pair in given.build_arg)
    stages = parse((ROOT / "Dockerfile").read_text())
    final = stages[-1]
    command = [*final.last("ENTRYPOINT").words, *final.last("CMD").words]
    check = health_command(final.last("HEALTHCHECK"))
    done: dict[str, str] = {}
    with tempfile.TemporaryDirectory(prefix="bitlm-image-", dir=given.scratch) as folder:
        try:
            base = given.base or Path(folder) / "base"
            if not given.base:
                base_root(base)
            container = build(stages, base, Path(folder), arguments)
            looks: dict[str, Callable[[], str]] = {
                "compiled": lambda: compiled(container),
                "owns": lambda: owns(container),
                "refuses": lambda: refuses(container, command),
                "serves": lambda: serves(container, command, check),
                "answers": lambda: answers(container, final.last("ENTRYPOINT").words),
            }
            for name, look in looks.items():
                done[name] = look()
                print(f"{name}: {done[name]}", flush=True)
        except Exception as error:  # of the steps, of a time that is up, or of a client's tasks: the last line tells of each
            traceback.print_exc()
            print(json.dumps({"failed": str(error), "done": done}))
            return 1
    print(json.dumps({"failed": None, "done": done}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
