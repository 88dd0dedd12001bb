"""Several processes that meet as torchrun's would, without its agent: each costs a start of Python and of torch."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

TIMEOUT_S = 240


def run_world(program: Path, *arguments: str, size: int = 2) -> None:
    """Run a program in `size` processes; AssertionError with what they wrote where one of them fails."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "WORLD_SIZE": str(size), "OMP_NUM_THREADS": "1"}
    root = str(Path(__file__).parents[3])
    processes = [
        subprocess.Popen(
            [sys.executable, str(program), *arguments],
            env={**os.environ, **shared, "PYTHONPATH": root, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for rank in range(size)
    ]
    try:
        told = [process.communicate(timeout=TIMEOUT_S)[0] for process in processes]
    finally:
        for process in processes:
            process.kill()
            process.wait()
    assert [process.returncode for process in processes] == [0] * size, "\n".join(told)
