"""Benchmarks that take no time and say what they are told to: run as a program, a run of three to be killed in."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from bitlm_mcp.bench_all.inputs import Inputs
from bitlm_mcp.bench_all.plan import Case, high, low
from bitlm_mcp.bench_all.running import Bench, Job, run_jobs

FAKE = """
import json, os, pathlib, sys, time
name, folder = sys.argv[1], pathlib.Path(os.environ["FAKE"])
with (folder / "ran").open("a") as ran:
    ran.write(name + chr(10))
if name == "bad":
    sys.exit("it went wrong")
if name == "killed":
    os.kill(os.getpid(), 9)
if name == "mute":
    sys.exit(print("no figures"))
deadline = time.monotonic() + 60
while name == "long" and not (folder / "release").exists() and time.monotonic() < deadline:
    time.sleep(0.02)
print("something for people")
print(json.dumps({"speed": 2.5, "size": 7, "given": sys.argv[2:], "none": None, "inner": {"deep": 1}}))
"""
PROGRAM = (sys.executable, "-I", "-S", "-c", FAKE)
FIGURES = (high("speed", "how fast", "bytes/s", 2.0, 3.0), low("size", "how large"))


def case(name: str, **settings: Any) -> Case:
    return Case(name, name.partition("-")[0], f"What {name} is.", FIGURES, 1, **settings)


PLAN = (case("first", alone=True), case("long", alone=True), case("last", alone=True))
"""The second waits until it is released."""


def bench_in(folder: Path) -> Bench:
    environment = os.environ | {"FAKE": str(folder)}
    inputs = Inputs(None, folder / "parts")
    return Bench(folder / "out", inputs, "commit", {"processor": "any"}, environment, lambda line: None, PROGRAM)


def jobs_in(bench: Bench) -> list[Job]:
    """Those that are missing."""
    return [job for one in PLAN if (job := bench.job(one)) and not bench.kept(job)]


if __name__ == "__main__":
    bench = bench_in(Path(sys.argv[1]))
    run_jobs(bench, jobs_in(bench))
