"""bitlm_core without a server: learn a text for a few steps, ask it, measure it, save it, load it.

python examples/core_in_20_lines.py [FILE] [STEPS]
"""

import sys
from pathlib import Path
from tempfile import mkdtemp

import bitlm_core as bitlm


def finish(steps):  # long work is a generator: drive it, stop it, or show its progress
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


text = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).read_bytes()
data = bitlm.bytes_in_memory(text)
engine = bitlm.Engine(bitlm.EngineConfig(model=bitlm.preset_config("tiny", max_seq_len=64)))
for report in engine.train_steps(data, bitlm.TrainingPlan(steps=int(sys.argv[2]) if len(sys.argv) > 2 else 40)):
    latest = report
print(f"step {latest.step}: {latest.bits_per_byte:.2f} bits per byte in training")
generation, _ = finish(engine.infer_steps(text[:16], 48, bitlm.SamplingConfig(temperature=0.5, constraint="utf8", seed=1)))
print("it goes on:", (text[:16] + generation.data).decode())
print(f"of what it learned, a byte costs {finish(engine.evaluate_steps(data.array)).bits_per_byte_static:.2f} bits")
file = Path(mkdtemp()) / "model"
bitlm.write_file(file, *engine.state())
again = bitlm.Engine.from_state(*bitlm.read_file(file, "model"))
print("saved and loaded at step", again.step)
