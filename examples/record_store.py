"""A store of small records, each compressed alone: any of them is read without the others, and all of them are small.

    .venv/bin/python examples/record_store.py [FILE] [--quick]

A general compressor needs much data before it finds what repeats, and one record has little. A model that has learned other
records of the kind knows it beforehand. The first half of the lines of FILE (or of orders of a shop, made up here) is learned,
the second half is stored, then some are read back in any order. Printed are the sizes beside those of zlib and zstd, with
neither the model nor the dictionary of zstd in them, and how long a record takes. A quarter of a minute.
"""

import json
import random
import sys
import time
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import zstandard

import bitlm_core as bitlm

quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]


def order(number: int, chance: random.Random) -> str:
    """One line of JSON as a shop would keep it."""
    items = [{"sku": f"SKU-{chance.randrange(400):05}", "count": chance.randrange(1, 5)} for _ in range(chance.randrange(1, 4))]
    paid = {"method": chance.choice(("card", "invoice", "voucher")), "cents": chance.randrange(500, 90_000)}
    where = chance.choice(("Lisbon", "Porto", "Braga", "Faro"))
    return json.dumps({"order": 70_000 + number, "city": where, "items": items, "paid": paid, "gift": chance.random() < 0.1})


def documents(lines: list[bytes]) -> bitlm.ByteData:
    """The lines as data in which each is a document of its own."""
    data = bitlm.bytes_in_memory(b"".join(lines))
    return replace(data, document_starts=bitlm.record_spans(data.array, "lines")[1:, 0])


if given:
    with Path(given[0]).open("rb") as file:
        records = file.readlines()
else:
    chance = random.Random(1)  # noqa: S311 - no secret
    records = [f"{order(number, chance)}\n".encode() for number in range(200 if quick else 2000)]
if len(records) < 100:
    sys.exit(f"{len(records)} lines are too few to learn what they share: at least 100 are needed, give a longer FILE")
learned, stored = records[: len(records) // 2], records[len(records) // 2 :]

engine = bitlm.Engine(bitlm.EngineConfig(model=bitlm.preset_config(None, "mix"), mixing=bitlm.MixingConfig(memory_mib=16)))
for _ in engine.train_steps(documents(learned), bitlm.TrainingPlan(steps=len(learned))):
    pass  # ends when all is read
codec = bitlm.ModelCodec(engine.model, engine.mixer)
store = bitlm.finished(codec.compress_records_steps(np.frombuffer(b"".join(stored), np.uint8), "lines"))

size = sum(map(len, stored))
dictionary = zstandard.train_dictionary(max(256, min(112_640, sum(map(len, learned)) // 10)), learned)
zstd, alone = zstandard.ZstdCompressor(19), zstandard.ZstdCompressor(19, dict_data=dictionary, write_dict_id=False)
print(f"{len(learned):,} records learned, {len(stored):,} stored: {size:,} bytes, {size / len(stored):.0f} a record")
for name, compressed in {
    "bitlm, each alone, with their index": len(store),
    "zstd -19, each alone, dictionary of the learned": sum(len(alone.compress(record)) for record in stored),
    "zlib -9, each alone": sum(len(zlib.compress(record, 9)) for record in stored),
    "zlib -9, all in one, none readable alone": len(zlib.compress(b"".join(stored), 9)),
    "zstd -19, all in one, none readable alone": len(zstd.compress(b"".join(stored))),
}.items():
    print(f"{compressed:12,} bytes  {compressed / size:6.1%}  {name}")

wanted = random.Random(2).sample(range(len(stored)), min(20, len(stored)))  # noqa: S311 - no secret
started = time.perf_counter()
found = [bitlm.decompress_record(store, codec, number) for number in wanted]
milliseconds = 1000 * (time.perf_counter() - started) / len(wanted)
right = sum(record == stored[number] for record, number in zip(found, wanted, strict=True))
print(f"{right} of {len(wanted)} records read alone, in any order, are what was stored: {milliseconds:.2f} ms each")
print("all of them at once are, too:", bitlm.finished(bitlm.decompress_steps(store, codec)).tobytes() == b"".join(stored))
