"""Sound and pictures are bytes: a small byte-latent model learns a WAV and a PGM that this script makes, told nothing of them.

    .venv/bin/python examples/bytes_of_any_kind.py [STEPS]

Of each file nine tenths are learned, the rest is scored before and after; then the patches that a few of those bytes are cut
into, where the next byte is hard to predict. The 150 steps for each take half a minute.
"""

import math
import sys
import tempfile
import wave
from pathlib import Path

import numpy as np

import bitlm_core as bitlm

RATE, SECONDS, SIDE = 8_000, 4, 160
CHORDS = ((262, 330, 392), (294, 370, 440), (349, 440, 523), (392, 494, 587))  # Hz
STEPS = int(sys.argv[1]) if len(sys.argv) > 1 else 150


def sound(path: Path) -> bytes:
    """Chords of three sines, half a second each; one byte a sample."""
    samples = bytearray()
    for index in range(RATE * SECONDS):
        chord = CHORDS[index // (RATE // 2) % len(CHORDS)]
        samples.append(128 + round(40 * sum(math.sin(math.tau * tone * index / RATE) for tone in chord)))
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 1, RATE, 0, "NONE", "not compressed"))
        file.writeframes(bytes(samples))
    return path.read_bytes()


def picture(path: Path) -> bytes:
    """Columns of discs and bars on a gradient, in grey; one byte a pixel."""
    down, right = np.mgrid[0:SIDE, 0:SIDE]
    grey = (down + right) // 4
    grey[(down % 40 - 20) ** 2 + (right % 40 - 20) ** 2 < 120] = 230
    grey[:, right[0] % 80 > 74] = 20
    path.write_bytes(b"P5\n%d %d\n255\n" % (SIDE, SIDE) + grey.astype(np.uint8).tobytes())
    return path.read_bytes()


def patches(engine: bitlm.Engine, data: bytes) -> str:
    """The bytes in hex, a bar wherever a patch ends."""
    patcher, shown = bitlm.Patcher(engine.config.model.patch.patching, engine.model.entropy), ""
    for byte in data:
        shown += f"{byte:02x}" + (" | " if patcher.push(byte) else " ")
    return shown.strip(" |")


def cost(engine: bitlm.Engine, data: bytes) -> float:
    """Bits per byte."""
    return bitlm.finished(engine.evaluate_steps(np.frombuffer(data, np.uint8))).bits_per_byte_network


with tempfile.TemporaryDirectory() as folder:
    files = {"sound.wav": sound(Path(folder) / "sound.wav"), "picture.pgm": picture(Path(folder) / "picture.pgm")}
sizes = bitlm.BLTConfig(hidden_size=64, local_width=32, global_layers=1, ngram_vocab_size=1024, max_position_embeddings=128)
cheaper = 0
for name, content in files.items():
    learned, ahead = content[: len(content) * 9 // 10], content[len(content) * 9 // 10 :]
    engine = bitlm.Engine(bitlm.EngineConfig(model=sizes.to_model(), mixing=None))
    before = cost(engine, ahead)
    for report in engine.train_steps(bitlm.bytes_in_memory(learned), bitlm.TrainingPlan(steps=STEPS)):
        latest = report
    after = cost(engine, ahead)
    cheaper += after < 0.95 * before
    print(f"{name}: {len(content):,} bytes, step {latest.step}: {before:.2f} bits per byte before, {after:.2f} after")
    print(f"  {patches(engine, ahead[1000:1032])}")
print(f"{cheaper} of {len(files)} files cost at least a twentieth less than before")
