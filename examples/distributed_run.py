"""Train one model in two processes, and see that it is the model that one process makes.

    .venv/bin/python examples/distributed_run.py [FILE [STEPS]]

The command `bitlm train --nproc 2` starts both through torchrun. Each computes half of every batch of FILE (or of the language
reference that comes with Python); what they have learned is one file, which any number of processes goes on from, one too.
Prints the time of both runs, and how far apart both models are. About two minutes on two cores, most of it the starts.
"""

import json
import pydoc_data.topics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

import bitlm_core


def trained(file: str, out: Path, steps: int, *options: str) -> tuple[bitlm_core.Engine, float]:
    """The model that `bitlm train` makes, and the seconds that it took."""
    length = ["--steps", str(steps), "--batch-size", "8", "--holdout-fraction", "0", "--device", "cpu"]
    kind = ["--preset", "tiny", "--no-context-mixing"] if "--model" not in options else []
    started = time.perf_counter()
    line = [sys.executable, "-m", "bitlm_mcp", "train", file, *length, *kind, *options, "--json", "--out", str(out)]
    ended = subprocess.run(line, check=False, stdout=subprocess.PIPE)  # noqa: S603 - our own command
    if ended.returncode:
        sys.exit(ended.returncode)  # it has said why
    told = json.loads(ended.stdout)
    print(f"{out.name}: step {told['step']}, {told['bits_per_byte']:.3f} bits per byte in training")
    seconds = time.perf_counter() - started
    return bitlm_core.Engine.from_state(*bitlm_core.read_file(out, out.name)), seconds


def cost(engine: bitlm_core.Engine, file: str) -> float:
    """Bits per byte of the beginning of a file."""
    start = np.frombuffer(Path(file).read_bytes()[:10_000], np.uint8)
    return bitlm_core.finished(engine.evaluate_steps(start)).bits_per_byte_network


def main(file: str = pydoc_data.topics.__file__, steps: str = "20") -> None:
    with tempfile.TemporaryDirectory() as folder:
        one, alone_s = trained(file, Path(folder) / "one", int(steps))
        two, shared_s = trained(file, Path(folder) / "two", int(steps), "--nproc", "2")
        print(f"{alone_s:.0f} s in one process, {shared_s:.0f} s in two, with their starts")
        apart = abs(cost(one, file) - cost(two, file))
        print(f"bits per byte apart, by the rounding of sums in another order: {apart:.1e}")
        more, _ = trained(file, Path(folder) / "more", 2, "--model", str(Path(folder) / "two"))
        print(f"one process went on with what two had learned, to step {more.step}")


if __name__ == "__main__":
    main(*sys.argv[1:])
