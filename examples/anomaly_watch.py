"""Learn what normal log lines are like, then watch a stream of them: which are odd, and which of their bytes?

    python examples/anomaly_watch.py [lines to learn, by default 400] [lines to watch, by default 200]

The log is made up here. A real one is watched the same way: `bitlm score FILE --records lines --model NAME --adaptive`.
"""

import random
import sys
from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from bitlm_core import Engine, EngineConfig, MixingConfig, TrainingPlan, bytes_in_memory, preset_config, record_spans

LEARNED, WATCHED = (int(given or default) for given, default in zip([*sys.argv[1:3], "", ""], ("400", "200"), strict=False))
ODD = (
    "07:12:44 web-3 GET /../../etc/passwd 200 5 ms\n",
    "07:13:10 web-1 GET /cart 200 9\x00\x00 ms\n",
    "07:14:02 web-2 kernel: Out of memory: killed process 4711\n",
)


def log(seed: int, count: int) -> Iterator[str]:
    """Lines as the servers of a shop would write them."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    for number in range(count):
        at = f"{7 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02}"
        page = chance.choice(("/cart", "/help", "/item/" + str(chance.randrange(1000))))
        yield f"{at} web-{chance.randrange(1, 4)} GET {page} {chance.choice((200, 200, 304))} {chance.randrange(2, 90)} ms\n"


def finish(steps):  # long work is a generator: drive it, stop it, or show its progress
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


engine = Engine(EngineConfig(model=preset_config("tiny"), mixing=MixingConfig(memory_mib=16)))
normal = bytes_in_memory("".join(log(1, LEARNED)).encode())
each_line = record_spans(normal.array, "lines")[1:, 0]  # a document of its own
for _ in engine.train_steps(replace(normal, document_starts=each_line), TrainingPlan(steps=8)):
    pass

lines = list(log(2, WATCHED))
for place, odd in zip((60, 100, 140), ODD, strict=True):
    lines.insert(place * WATCHED // 200, odd)
data = np.frombuffer("".join(lines).encode(), np.uint8)
score = finish(engine.score_steps(data, record_spans(data, "lines"), adaptive=True))

print(f"{score.likelihood.bits_per_byte:.2f} bits per byte; {score.num_learned} of {len(lines)} lines were learned on the way")
for record in score.top_records(len(ODD)):
    print(f"{record.statistic:6.1f} deviations  line {record.record:4}  {lines[record.record]!r}")
for span in score.top_spans(len(ODD)):
    print(f"{span.bits:6.1f} bits at byte {span.offset:6}  {data[span.offset : span.offset + span.num_bytes].tobytes()!r}")
found = {lines[record.record] for record in score.top_records(len(ODD))}
print(f"{len(found & set(ODD))} of {len(ODD)} odd lines rank first")
