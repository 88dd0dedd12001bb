"""Train one model in two processes, and see that it is the model that one process makes.

    .venv/bin/python examples/distributed_run.py [FILE [STEPS]]

The command `bitlm train --nproc 2` starts both through torchrun. Each computes half of every batch; what they have learned is
one file, which any number of processes goes on from, one too. Prints what each process computed, the time of both runs, and
how far their losses are apart. About two minutes on two cores, most of it the starts.
"""

import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import bitlm_core

BATCH = 8


def trained(file: str, out: Path, steps: int, *options: str) -> tuple[bitlm_core.Engine, float, float]:
    """The model that `bitlm train` makes, its bits per byte in training, and the seconds that it took."""
    length = ["--steps", str(steps), "--batch-size", str(BATCH), "--holdout-fraction", "0"]
    kind = ["--preset", "tiny", "--no-context-mixing"] if "--model" not in options else []
    started = time.perf_counter()
    line = [sys.executable, "-m", "bitlm_mcp", "train", file, *length, *kind, *options, "--json", "--out", str(out)]
    told = json.loads(subprocess.run(line, check=True, stdout=subprocess.PIPE).stdout)  # noqa: S603 - our own command
    print(f"{out.name}: step {told['step']}, {told['bits_per_byte']:.3f} bits per byte in training")
    engine = bitlm_core.Engine.from_state(*bitlm_core.read_file(out, out.name))
    return engine, told["bits_per_byte"], time.perf_counter() - started


def main(file: str = "README.md", steps: str = "20") -> None:
    with tempfile.TemporaryDirectory() as folder:
        _, one, alone_s = trained(file, Path(folder) / "one", int(steps))
        _, two, shared_s = trained(file, Path(folder) / "two", int(steps), "--nproc", "2")
        print(f"each of two processes computed {BATCH // 2} of the {BATCH} windows of a step")
        print(f"{alone_s:.0f} s in one process, {shared_s:.0f} s in two, with their starts")
        print(f"bits per byte apart, by the rounding of sums in another order: {abs(one - two):.1e}")
        more, _, _ = trained(file, Path(folder) / "more", 2, "--model", str(Path(folder) / "two"))
        print(f"one process went on with what two had learned, to step {more.step}")


if __name__ == "__main__":
    main(*sys.argv[1:])
