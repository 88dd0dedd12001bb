"""The mixing kernels against their plain twin: the same source run by the interpreter, without the compiler."""

from __future__ import annotations

import os
import subprocess
import sys

SCRIPT = """
import zlib
import numpy as np
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import Profile
rng = np.random.default_rng(0)
words = [b"alpha ", b"beta\\n", b"gamma, ", b"\\xff\\x80\\x00", b"a longer phrase that matches "]
data = np.frombuffer(b"".join(words[i] for i in rng.integers(0, 5, 40)), np.uint8)[:90]
expert = rng.normal(0, 3, (data.size, 8)).astype(np.float32)
mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096))
got = [mixer.read(data), mixer.read(data[:20], expert[:20]), mixer.read(data[:10], learn=False), mixer.node_logits()]
kinds = [Profile(kind="records"), Profile(kind="records", period=7), Profile(kind="bytes", stride=3, period=9)]
kinds += [Profile(kind="words", stride=stride, big_endian=big) for stride, big in ((2, False), (4, True))]
for kind in kinds:
    other = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096), kind)
    got += [other.read(data[:20]), other.read(data[:5], learn=False)]
    other.start_document()  # places in it, and sums up to them, are met again
    got += [other.read(data[:12]), *other.state_arrays().values()]
parts = [a.tobytes() for a in got] + [a.tobytes() for a in mixer.state_arrays().values()]
print([zlib.crc32(part) for part in parts])
"""


def run(disable_jit: str) -> str:
    environment = {**os.environ, "NUMBA_DISABLE_JIT": disable_jit, "PYTHONPATH": os.pathsep.join(sys.path)}
    command = [sys.executable, "-W", "error::RuntimeWarning", "-c", SCRIPT]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_compiled_equals_interpreted() -> None:
    """Bit for bit, logits and state; an overflow in the interpreter is a RuntimeWarning, hence an error here."""
    assert run("1") == run("0")
