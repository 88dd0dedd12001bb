"""Watch a log that grows: what stands in it is normal, and every line that is added is judged as it comes.

    .venv/bin/python examples/anomaly_watch.py [FILE] [--quick]

The lines that FILE has are learned, then it is followed as `tail -F` does, through rotation and truncation, until Ctrl-C. Each
new line is learned too, unless it is suspicious, so a burst of odd ones stays odd. Printed is every line further than ALERT
deviations from what is usual, with its oddest bytes. Without FILE a shop's log is made up, and grows for ten seconds.
"""

import os
import random
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

import numpy as np

import bitlm_core as bitlm

ALERT, SHOWN = 8.0, 12
ODD = (
    b"07:12:44 web-3 GET /../../etc/passwd 200 5 ms\n",
    b"07:13:10 web-1 GET /cart 200 9\x00\x00 ms\n",
    b"07:14:02 web-2 kernel: Out of memory: killed process 4711\n",
)


def follow(path: Path, file: BinaryIO, wait: Callable[[], bool]) -> Iterator[bytes]:
    """Whole lines as they are added to the open file, and to those after it; False from `wait`: this look is the last one."""
    rest, going, newer = b"", True, None
    while going or newer:
        if newer:
            file.close()
            file, rest, newer = newer, b"", None
        else:
            going = wait()
        with suppress(FileNotFoundError):  # between the old one and the new
            if not os.path.samestat(path.stat(), os.fstat(file.fileno())):
                newer = path.open("rb")
        if os.fstat(file.fileno()).st_size < file.tell():  # truncated: it begins anew
            file.seek(0)
            rest = b""
        for part in file:
            rest += part
            if rest.endswith(b"\n"):
                yield rest
                rest = b""
    file.close()


def watch(path: Path, wait: Callable[[], bool]) -> list[bytes]:
    """Learn what is there, judge what comes, and print what is odd: the lines that were."""
    file, count, odd = path.open("rb"), 0, []
    normal = file.readlines()
    if normal and not normal[-1].endswith(b"\n"):  # still being written
        file.seek(-len(normal.pop()), os.SEEK_CUR)
    watching = bitlm.Watch(normal)
    print(f"{len(normal):,} lines learned; watching {path}", flush=True)
    with suppress(KeyboardInterrupt):
        for line in follow(path, file, wait):
            judged, count = watching.judge(line), count + 1
            if judged.statistic > ALERT:
                odd.append(line)
                at = int(np.convolve(judged.surprise, np.ones(min(SHOWN, len(line))), "valid").argmax())
                print(f"{judged.statistic:6.1f} deviations, most at {line[at : at + SHOWN]!r}: {line!r}", flush=True)
    print(f"{len(odd)} of {count:,} lines were odd; {watching.num_learned:,} were learned on the way")
    return odd


def shop(seed: int, count: int) -> list[bytes]:
    """Lines as the servers of a shop would write them."""
    chance, lines = random.Random(seed), []  # noqa: S311 - no secret
    for number in range(count):
        at = f"{7 + number // 3600:02}:{number // 60 % 60:02}:{number % 60:02} web-{chance.randrange(1, 4)}"
        page = chance.choice(("/cart", "/help", f"/item/{chance.randrange(1000)}"))
        lines.append(f"{at} GET {page} {chance.choice((200, 200, 304))} {chance.randrange(2, 90)} ms\n".encode())
    return lines


def growing(path: Path, lines: list[bytes]) -> Callable[[], bool]:
    """What adds some more lines when it is called, until there are none; half way it rotates the log."""
    pieces = [lines[at : at + 50] for at in range(0, len(lines), 50)]
    half = len(pieces) // 2

    def more() -> bool:
        if len(pieces) == half:
            path.rename(f"{path}.1")
        with path.open("ab") as file:
            file.writelines(pieces.pop(0))
        return bool(pieces)

    return more


if __name__ == "__main__":
    quick, given = "--quick" in sys.argv, [argument for argument in sys.argv[1:] if argument != "--quick"]
    if given:
        watch(Path(given[0]), lambda: time.sleep(0.5) is None)
    else:
        count = 600 if quick else 3000
        added = shop(2, count)
        for place, line in zip((1, 2, 3), ODD, strict=True):
            added.insert(place * count // 4, line)
        with tempfile.TemporaryDirectory() as folder:
            log = Path(folder) / "shop.log"
            log.write_bytes(b"".join(shop(1, count)))
            found = watch(log, growing(log, added))
        right = sum(line in ODD for line in found)
        print(f"{right} of the {len(ODD)} odd lines were found, {len(found) - right} others")
