"""A long text, read in order: a small reversible model learns nine tenths of it, then predicts along the rest.

python examples/long_context.py [FILE] [CTX_BITS] [PASSES]

Keys and values are carried from segment to segment, in training and in answering: memory is that of one segment, nothing is
read twice, and with attention in chunks what a byte sees does not depend on where segments end.
"""

import sys
from pathlib import Path

import bitlm_core as bitlm


def finish(steps):
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


text = Path(sys.argv[1] if len(sys.argv) > 1 else __file__).read_bytes()
learned, ahead = (bitlm.bytes_in_memory(part) for part in (text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]))
ctx_bits = int(sys.argv[2]) if len(sys.argv) > 2 else 18_000  # nine a byte: 2,000 bytes
passes = int(sys.argv[3]) if len(sys.argv) > 3 else 3
model = bitlm.preset_config("tiny", max_seq_len=max(16, ctx_bits // 9), chunk_size=64, reversible=True)
engine = bitlm.Engine(bitlm.EngineConfig(model=model, training=bitlm.TrainingConfig(batch_size=1)))
for report in engine.train_full_sequence(learned, ctx_bits=ctx_bits, passes=passes):
    print(f"step {report.step}: {report.bits_per_byte:.2f} bits per byte in a segment of {report.num_bytes:,} bytes")
found = finish(engine.infer_long_steps(ahead.array, ctx_bits=ctx_bits, overlap=0, carry=True))
for window in found.windows:
    print(f"from byte {window.start_byte:,}: {window.bits_per_byte:.2f} bits per byte, {window.accuracy:.0%} of bits right")
print(f"{len(found.predicted):,} bytes predicted, each once")
