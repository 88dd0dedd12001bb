"""Repair a damaged text: what most likely stood where bytes were overwritten, at places that are known, and at unknown ones.

    .venv/bin/python examples/repair_file.py [FILE] [--quick]

A model learns most of FILE (or of the language reference that comes with Python). In the rest, its end, one byte in a hundred
is overwritten by a random one. First the places are told, as a check sum or a bad sector tells them; then they have to be
found: the most surprising bytes are examined, and each stays unless another one is far likelier. Printed are how many bytes
come back, beside what guessing the commonest byte restores, and a damaged line. About half a minute.
"""

import pydoc_data.topics
import random
import sys
from pathlib import Path

import numpy as np

import bitlm_core as bitlm

quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]

paragraphs = "\n\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items())).split("\n\n")
text = Path(given[0]).read_bytes() if given else "\n\n".join(dict.fromkeys(paragraphs)).encode()  # each paragraph once
if quick:
    text = text[:30_000]
if len(text) < 1000:
    sys.exit(f"{len(text)} bytes are too few to learn from and to damage: at least 1,000 are needed, give a longer FILE")
size = min(len(text) // 10, 20_000)
learned, truth = text[:-size], np.frombuffer(text[-size:], np.uint8)

chance = random.Random(1)  # noqa: S311 - no secret
places = np.array(sorted(chance.sample(range(size), size // 100)))
damaged = truth.copy()
damaged[places] += np.array([chance.randrange(1, 256) for _ in places], np.uint8)

engine = bitlm.Engine(bitlm.EngineConfig(model=bitlm.preset_config(None, "mix"), mixing=bitlm.MixingConfig(memory_mib=64)))
for _ in engine.train_steps(bitlm.bytes_in_memory(learned), bitlm.TrainingPlan(steps=len(learned))):
    pass  # ends when all is read


def repaired(damage: bitlm.Damage) -> bitlm.Repair:
    """The likeliest bytes at the places of the damage, the data as it is everywhere else."""
    return bitlm.finished(bitlm.repair_steps(engine.model, engine.mixer, damage))


def share(restored: np.ndarray) -> str:
    """How many of the overwritten bytes are again what they were."""
    right = int((restored[places] == truth[places]).sum())
    return f"{right} of {len(places)} overwritten bytes ({right / len(places):.0%}) are right"


print(f"{len(learned):,} bytes learned; {len(places)} of the {size:,} bytes after them overwritten")
commonest = np.bincount(np.frombuffer(learned, np.uint8)).argmax()
print(f"left as it is:              {share(damaged)}")
print(f"the commonest byte:         {share(np.where(np.isin(np.arange(size), places), commonest, damaged))}")
known = repaired(bitlm.damaged_ranges(damaged, [(place, 1) for place in places.tolist()]))
print(f"repaired, places known:     {share(known.restored)}")
search = bitlm.suspected_steps(engine.model, engine.mixer, damaged, 4 * len(places), adaptive=True)
found = repaired(bitlm.finished(search))
print(f"repaired, places not known: {share(found.restored)}")
wrong = int((~np.isin(found.offsets, places)).sum())
print(f"                            {len(found.offsets)} bytes were changed, {wrong} of them had been right before")

at = int(places[len(places) // 2])
for name, data in {"damaged": damaged, "repaired": known.restored, "was": truth}.items():
    print(f"{name:>9}: {data[max(0, at - 40) : at + 40].tobytes()!r}")
