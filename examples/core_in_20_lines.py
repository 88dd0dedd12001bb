"""bitlm_core without a server: learn a text for a few steps, ask it, measure it, save it, load it.

    .venv/bin/python examples/core_in_20_lines.py [FILE] [STEPS]

Long work is a generator: `finished` runs it to its end, and whoever goes through it sees its progress and may stop it. Printed
are bits per byte, and how the text goes on. The 40 steps, on this very file unless another is given, take five seconds.
"""

import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import bitlm_core as bitlm

text = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).read_bytes()
data = bitlm.bytes_in_memory(text)
engine = bitlm.Engine(bitlm.EngineConfig(model=bitlm.preset_config("tiny", max_seq_len=64)))
for report in engine.train_steps(data, bitlm.TrainingPlan(steps=int(sys.argv[2]) if len(sys.argv) > 2 else 40)):
    if report.step % 10 == 0:
        print(f"step {report.step}: {report.bits_per_byte:.2f} bits per byte in training")
sampling = bitlm.SamplingConfig(temperature=0.5, constraint="utf8", seed=1)
generation, _ = bitlm.finished(engine.infer_steps(text[:16], 48, sampling))
print("it goes on:", (text[:16] + generation.data).decode(errors="replace"))
known = bitlm.finished(engine.evaluate_steps(data.array))
print(f"of what it learned, a byte costs {known.bits_per_byte_static:.2f} bits")
with TemporaryDirectory() as folder:
    bitlm.write_file(Path(folder) / "model", *engine.state())
    again = bitlm.Engine.from_state(*bitlm.read_file(Path(folder) / "model", "model"))
print("saved, and loaded again at step", again.step)
