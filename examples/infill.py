"""Fill gaps in the middle of a text, which a model that only reads from left to right cannot: it does not see what follows.

    .venv/bin/python examples/infill.py [FILE] [--quick]

A small network learns nine tenths of FILE (or of the language reference that comes with Python) by masked diffusion: bytes
are hidden, and told from what stands on both sides. Then bytes of the last tenth are hidden. Printed is how many of them come
back, with both sides and with the left one alone, beside the share of spaces; then a passage with words cut out, filled with
what is likeliest, and drawn. About a minute and a half, nearly all of it training; an hour would write better words.
"""

import itertools
import pydoc_data.topics
import random
import re
import sys
from pathlib import Path

import bitlm_core as bitlm

CONTEXT, HIDDEN, MARK = 48, 3, "░"  # bytes on each side of a gap, and in it; how one hidden byte of the passage is shown
WORDS = re.compile(r"\b[a-z]{3,8}\b")  # some of which are cut out of it

quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]

paragraphs = "\n\n".join(topic for _, topic in sorted(pydoc_data.topics.topics.items())).split("\n\n")
text = Path(given[0]).read_bytes() if given else "\n\n".join(dict.fromkeys(paragraphs)).encode()  # each paragraph once
learned, ahead = text[: len(text) * 9 // 10], text[len(text) * 9 // 10 :]
if not WORDS.search(ahead[CONTEXT:-CONTEXT].decode(errors="replace")):
    sys.exit(f"{len(ahead)} bytes, the last tenth, hold no word to cut out: give a longer FILE of prose")
model = bitlm.preset_config("tiny", diffusion="shared", ngram_rows=16384, max_seq_len=128)
training = bitlm.TrainingConfig(batch_size=8 if quick else 24)
engine = bitlm.Engine(bitlm.EngineConfig(model=model, training=training, mixing=None))
plan = bitlm.TrainingPlan(steps=30 if quick else 600, objective="diffusion")
for _ in engine.train_steps(bitlm.bytes_in_memory(learned), plan):
    pass
print(f"{len(learned):,} bytes learned in {engine.step} steps")


def filled(template: bitlm.Template, **how) -> bytes:
    """The template with its gaps filled; temperature 0 is what most likely stood there."""
    filling, _ = bitlm.finished(engine.diffusion_sample_steps(template, bitlm.DiffusionSampling(**how)))
    return filling.data


chance = random.Random(1)  # noqa: S311 - no secret
gaps = [chance.randrange(CONTEXT, len(ahead) - CONTEXT - HIDDEN + 1) for _ in range(25 if quick else 100)]
came_back = {"both sides": 0, "left side alone": 0, "only spaces": 0}
for at in gaps:
    left, truth, right = ahead[at - CONTEXT : at], ahead[at : at + HIDDEN], ahead[at + HIDDEN : at + HIDDEN + CONTEXT]
    guesses = (
        filled(bitlm.Template.between(left, HIDDEN, right), temperature=0),
        filled(bitlm.Template.between(left, HIDDEN), temperature=0),
        b" " * HIDDEN,
    )
    for name, guess in zip(came_back, guesses, strict=True):
        came_back[name] += sum(one == other for one, other in zip(guess, truth, strict=True))
for name, count in came_back.items():
    print(f"{name + ':':17}{count:4} of {len(gaps) * HIDDEN} hidden bytes come back ({count / (len(gaps) * HIDDEN):.0%})")

passages = [ahead[start : start + 320].decode(errors="replace") for start in range(0, len(ahead), 160)]
passage = max(passages, key=lambda passage: len(WORDS.findall(passage)))  # prose, where there is some
number = itertools.count()
holed = WORDS.sub(lambda word: word[0] if next(number) % 4 else MARK * len(word[0]), passage)
template = bitlm.Template.marked(holed.encode(), MARK.encode())
likeliest = filled(template, temperature=0, steps=64).decode(errors="replace")
print(f"\n{holed}\n\nwhat is likeliest:\n{likeliest}")
drawn = filled(template, temperature=0.7, constraint="utf8", seed=1)
print(f"\ndrawn, valid UTF-8:\n{drawn.decode()}")
print(f"\nwhat stood there:\n{passage}")
