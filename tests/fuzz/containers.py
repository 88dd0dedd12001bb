"""Containers of all modes and data of all codecs, damaged at random: each must decode to the right bytes or to an error,
soon, and never crash.

`make fuzz` runs 100,000 and more; the last line is JSON. Half of the damaged headers and indexes get a right CRC again, so
that what lies behind the CRCs is reached too. What a record read alone gives is compared where no CRC was forged: a forged
index is no damage, it describes other records.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import random
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from bitlm_core import BitLMError, Engine, EngineConfig, MixingConfig, preset_config
from bitlm_core.compression.codecs import general_codec
from bitlm_core.compression.container import DecoderLimits, parse
from bitlm_core.compression.decompress import decompress_record, decompress_steps
from bitlm_core.compression.model_codec import ModelCodec
from bitlm_core.mixing.mixer import ContextMixer
from tests.conftest import run
from tests.core.compression.samples import CAPTURE, LINES, PACKETS, RECORDS, array, codec, noise
from tests.core.compression.test_self_contained import compressed

LIMITS = DecoderLimits(num_bytes=4096, memory_mib=24)
HANG_S = 300
"""A hundred decodings that take longer hang: the process is ended with a trace of where it was."""
NETWORK_SHARE = 50  # one in so many mutations goes to a network, which takes a thousand times as long


@dataclass(frozen=True)
class Subject:
    """A sound container, and what it must decode to."""

    name: str
    container: bytes
    content: bytes
    codec: ModelCodec | None
    records: tuple[bytes, ...] = ()
    general: bool = False
    """Data of the general codec `name`."""


def subjects() -> list[Subject]:
    """Every mode, without a network."""
    own, short = codec(), LINES[:400]
    found = [
        Subject("stored", compressed(noise(60)), noise(60), None),
        Subject("self-contained", compressed(short, memory_mib=8), short, None),
        Subject("lanes", compressed(short, memory_mib=8, lanes=3), short, None),
        Subject("model", run(own.compress_steps(array(short))), short, own),
        Subject("model lanes", run(own.compress_steps(array(short), lanes=2)), short, own),
    ]
    for name, records, parts in (("lines", "lines", RECORDS[80:92]), ("pcap", "pcap", PACKETS)):
        content = CAPTURE if name == "pcap" else b"".join(parts)
        container = run(own.compress_records_steps(array(content), records))
        found.append(Subject(name, container, content, own, tuple(parts)))
    for name in ("rle", "zlib", "lzma", "zstd"):
        for content in (bytes(300) + short, noise(60)):
            found.append(Subject(name, run(general_codec(name).encode_steps(array(content))), content, None, general=True))
    return found


def network_subjects() -> list[Subject]:
    """With a network, and a mixer beside it."""
    shape = preset_config("tiny", "byte", d_model=32, nhead=1, num_layers=1, max_seq_len=32)
    engine = Engine(EngineConfig(model=shape, mixing=MixingConfig(memory_mib=8)))
    mixer = ContextMixer(MixingConfig(memory_mib=8))
    mixer.read(array(b"".join(RECORDS[:40])))
    own, short = ModelCodec(engine.model, mixer), b"".join(RECORDS[80:82])
    return [
        Subject("network", run(own.compress_steps(array(short))), short, own),
        Subject("network records", run(own.compress_records_steps(array(short), "lines")), short, own, tuple(RECORDS[80:82])),
    ]


def mutated(random_: random.Random, data: bytes, others: list[bytes]) -> bytes:
    """One to three random changes of the kinds that happen, and of those that someone makes."""
    out = bytearray(data)
    for _ in range(random_.choice((1, 1, 2, 3))):
        at = random_.randrange(len(out) + 1)
        kind = random_.randrange(9)
        if kind <= 2 and at < len(out):
            out[at] ^= 1 << random_.randrange(8)
        elif kind == 3 and at < len(out):
            out[at] = random_.choice((0, 1, 127, 128, 255, random_.randrange(256)))
        elif kind == 4:
            out[at:at] = random_.randbytes(random_.randrange(1, 9))
        elif kind == 5:
            del out[at : at + random_.randrange(1, 9)]
        elif kind == 6:
            del out[at:]
        elif kind == 7:
            other = random_.choice(others)
            start = random_.randrange(len(other))
            out[at : at + 12] = other[start : start + random_.randrange(1, 24)]
        else:
            front = min(len(out), 48)
            out[random_.randrange(front + 1) : front] = random_.randbytes(4)
    return bytes(out)


def resigned(container: bytes) -> bytes:
    """With right CRCs in header and index again, as far as these can be found."""
    out = bytearray(container)
    if len(out) < 12 or out[6] > 127 or len(out) < 11 + out[6]:
        return container
    end = 7 + out[6]
    out[end : end + 4] = zlib.crc32(out[:end]).to_bytes(4, "little")
    try:
        header, _ = parse(memoryview(bytes(out)))
    except BitLMError:
        return bytes(out)
    if header.kind == "records" and header.sections[0] > 4:
        start, size = end + 4, header.sections[0]
        out[start + size - 4 : start + size] = zlib.crc32(out[start : start + size - 4]).to_bytes(4, "little")
    return bytes(out)


class WrongOutputError(AssertionError):
    """Something else came out than went in."""


def attempt(subject: Subject, container: bytes, random_: random.Random, forged: bool) -> list[str]:
    """What came of decoding all, and of one record: "right", or why not. Raises WrongOutputError and surprises."""
    outcomes = []
    calls: list[tuple[bytes, Callable[[], bytes]]] = [
        (subject.content, lambda: run(general_codec(subject.name).decode_steps(container, LIMITS.num_bytes)))
        if subject.general
        else (subject.content, lambda: run(decompress_steps(container, subject.codec, limits=LIMITS)).tobytes())
    ]
    if subject.records:
        record = random_.randrange(len(subject.records))
        calls.append((subject.records[record], lambda: decompress_record(container, subject.codec, record, limits=LIMITS)))
    for i, (right, call) in enumerate(calls):
        try:
            found = call()
        except BitLMError as error:
            outcomes.append(getattr(error, "reason", type(error).__name__))
            continue
        if found != right and not (i and forged):
            raise WrongOutputError(f"{len(found)} bytes")
        outcomes.append("right")
    return outcomes


def fuzz(mutations: int, seed: int, *, network: bool, seconds: float = float("inf")) -> dict[str, object]:
    """Run them; the counts. Ends early, and says so by `mutations`, when the time is over."""
    random_, started = random.Random(seed), time.monotonic()
    plain = subjects()
    slow = network_subjects() if network else []
    everything = [subject.container for subject in plain + slow]
    counts: Counter[str] = Counter()
    finds: list[str] = []
    slowest, done = 0.0, 0
    while done < mutations and time.monotonic() - started < seconds:
        if done % 100 == 0:
            faulthandler.dump_traceback_later(HANG_S, exit=True)
        subject = random_.choice(slow if slow and random_.randrange(NETWORK_SHARE) == 0 else plain)
        container = mutated(random_, subject.container, everything)
        forged = random_.random() < 0.5
        if forged:
            container = resigned(container)
        began = time.monotonic()
        try:
            counts.update(attempt(subject, container, random_, forged))
        except Exception as error:  # each is a find
            finds.append(f"{type(error).__name__}: {error} ({subject.name}: {container.hex()})")
        slowest = max(slowest, time.monotonic() - began)
        done += 1
    faulthandler.cancel_dump_traceback_later()
    right = counts.pop("right", 0)
    return {
        "mutations": done,
        "errors": sum(counts.values()),
        "right_bytes": right,
        "wrong_output": sum(find.startswith(WrongOutputError.__name__) for find in finds),
        "crashes": sum(not find.startswith(WrongOutputError.__name__) for find in finds),
        "first_finds": finds[:3],
        "by_reason": dict(sorted(counts.items())),
        "slowest_ms": round(1000 * slowest, 1),
        "seconds": round(time.monotonic() - started, 1),
        "seed": seed,
    }


def main() -> int:
    """Run it and print the report; the exit code is 1 for wrong output, crashes, or too little time."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=100_000)
    parser.add_argument("--seconds", type=float, default=1800)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    report = fuzz(arguments.mutations, arguments.seed, network=True, seconds=arguments.seconds)
    print(json.dumps(report))
    return int(report["mutations"] != arguments.mutations or bool(report["first_finds"]))


if __name__ == "__main__":
    sys.exit(main())
