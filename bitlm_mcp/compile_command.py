"""`bitlm compile`: all kernels at once, so that no first call waits for them."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import typer

import bitlm_core


def compile_kernels() -> None:
    """Compile all kernels now, on two cores; otherwise the first calls that need them wait, once on each machine."""
    started = time.perf_counter()
    with ProcessPoolExecutor(len(bitlm_core.KINDS), get_context("spawn")) as pool:
        for _ in pool.map(bitlm_core.compile_ahead, bitlm_core.KINDS):
            pass
    typer.echo(f"compiled in {time.perf_counter() - started:.0f} s")
