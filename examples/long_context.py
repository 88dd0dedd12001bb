"""A long text, read in order: a small reversible model learns nine tenths of it, then predicts along the rest.

    .venv/bin/python examples/long_context.py [FILE] [--quick]

Keys and values are carried from segment to segment, in training and in answering: memory is that of one segment, a pass reads
nothing twice, and with attention in chunks what a byte sees does not depend on where segments end. Printed is what a byte of
the last tenth of FILE (or of the language reference that comes with Python) costs, and what it costs when segments know nothing
of each other. Two minutes.
"""

import pydoc_data.topics
import sys
from pathlib import Path

import bitlm_core as bitlm

quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]
segment = 500 if quick else 1000  # bytes; nine bits each
paragraphs = "\n\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items())).split("\n\n")
text = Path(given[0]).read_bytes() if given else "\n\n".join(dict.fromkeys(paragraphs)).encode()  # each paragraph once
text = text[:10_000] if quick else text[:500_000]
learned, ahead = (bitlm.bytes_in_memory(part) for part in (text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]))

model = bitlm.preset_config("tiny", max_seq_len=segment, chunk_size=64, reversible=True)
engine = bitlm.Engine(bitlm.EngineConfig(model=model, training=bitlm.TrainingConfig(batch_size=1), mixing=None))
for report in engine.train_full_sequence(learned, ctx_bits=9 * segment, passes=1 if quick else 3):
    if report.step % 200 == 1:
        print(f"step {report.step}: {report.bits_per_byte:.2f} bits per byte in a segment of {report.num_bytes:,} bytes")

print(f"\n{len(ahead):,} bytes after what was learned, each predicted once, in segments of {segment:,}:")
for name, carry in {"carried on": True, "each alone": False}.items():
    found = bitlm.finished(engine.infer_long_steps(ahead.array, ctx_bits=9 * segment, overlap=0, carry=carry))
    cost, right = (
        sum(getattr(window, figure) * window.num_bytes for window in found.windows) / len(ahead)
        for figure in ("bits_per_byte", "accuracy")
    )
    print(f"{name}: {cost:.3f} bits per byte, {right:.1%} of bits right; {len(found.predicted):,} bytes")
