"""From a network that grows while it learns to one for a small machine: distilled, then in int8 and in int4.

    .venv/bin/python examples/edge_model.py [FILE] [--quick]

A small network learns nine tenths of FILE (or of the language reference that comes with Python) and grows by itself where it
learns slowly. A student with a quarter of its parameters learns from it, and is then rounded to int8 and int4. Printed is what
each takes in bytes and knows of the last tenth, beside a network of that size without a teacher; then the smallest is saved,
loaded and asked. About two minutes.
"""

import pydoc_data.topics
import sys
import tempfile
from pathlib import Path

import bitlm_core as bitlm

quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]
steps, most, sizes = 600, 2_000_000, {"d_model": 64, "ngram_rows": 4096}
if quick:
    steps, most, sizes = 20, 200_000, {"d_model": 32, "ngram_rows": 256}
paragraphs = "\n\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items())).split("\n\n")
text = Path(given[0]).read_bytes() if given else "\n\n".join(dict.fromkeys(paragraphs)).encode()  # each paragraph once
learned, held = (bitlm.bytes_in_memory(part) for part in (text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]))
held = held.part(0, 2_000 if quick else 40_000)

rule = bitlm.ProgressiveConfig(
    improve_threshold=0.9 if quick else 0.08,  # a look at held-out data that gains less makes it grow
    window=1,
    patience=1,
    cycle=("width",),
    max_parameters=most,
    warmup_steps=steps // 20,
)
small = bitlm.preset_config("tiny", max_seq_len=128, **sizes)
training = bitlm.TrainingConfig(batch_size=4 if quick else 16)
growth = bitlm.Progressive(bitlm.Engine(bitlm.EngineConfig(model=small, training=training, mixing=None)))
plan = bitlm.TrainingPlan(steps=steps, validate_every=max(2, steps // 15), growing=bitlm.Growing(settings=rule))
for told in growth.steps(learned, plan, held):
    if isinstance(told, bitlm.GrowthEvent):
        print(told.message)

grown = growth.engine
config = bitlm.student_config(grown.config)  # about a quarter of its parameters
lessons = bitlm.DistillConfig(steps=steps // 2, max_rounds=1)
distilled, _ = bitlm.finished(bitlm.distill_steps(grown, learned, held, config, lessons))
alone = bitlm.Engine(config)
for _ in alone.train_steps(learned, bitlm.TrainingPlan(steps=steps // 2)):
    pass
int4 = bitlm.quantize(distilled, "int4", qat_steps=steps // 10, data=learned)

print(f"\n{'':28}parameters  bytes of the network  bits per byte of {len(held):,} held-out ones")
for name, engine in {
    "grown": grown,
    "a quarter of it, untaught": alone,
    "a quarter of it, distilled": distilled,
    "that in int8": bitlm.quantize(distilled, "int8"),
    "that in int4": int4,
}.items():
    known = bitlm.finished(engine.evaluate_steps(held.array)).bits_per_byte_network
    print(f"{name:28}{engine.num_parameters:10,}{bitlm.network_bytes(engine):22,}{known:15.3f}")

with tempfile.TemporaryDirectory() as folder:
    file = Path(folder) / "edge.safetensors"
    bitlm.write_file(file, *int4.state())
    print(f"\nsaved in {file.stat().st_size:,} bytes; loaded, it goes on:")
    loaded = bitlm.Engine.from_state(*bitlm.read_file(file, "edge"))
starts = [held.array[at : at + 48].tobytes().decode(errors="ignore").encode() for at in range(0, len(held), 48)]
prompt = max(starts, key=lambda start: sum(97 <= byte <= 122 for byte in start))  # prose, where there is some
sampling = bitlm.SamplingConfig(temperature=0.7, constraint="utf8", seed=1)
answer, _ = bitlm.finished(loaded.infer_steps(prompt, 60 if quick else 240, sampling))
print((prompt + answer.data).decode())
