"""`bitlm compile`: what models learn, answer and compress with, so that no first call waits for it."""

from __future__ import annotations

import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import typer

import bitlm_core


def compile_kernels() -> None:
    """Compile now what models learn, answer and compress with, on two cores; else the first calls wait, once per machine."""
    started = time.perf_counter()
    with ProcessPoolExecutor(len(bitlm_core.KINDS), get_context("spawn")) as pool:
        for _ in pool.map(bitlm_core.compile_ahead, bitlm_core.KINDS):
            pass
    typer.echo(f"compiled in {time.perf_counter() - started:.0f} s")
