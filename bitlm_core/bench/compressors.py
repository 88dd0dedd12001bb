"""Other compressors on the same bytes: those of Python's library, and programs where they are installed.

Each is at its strongest setting; sizes are of complete files with all their headers.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

TIMEOUT_S = 600
DICTIONARY_BYTES = 112_640  # zstd's own default

_LIBRARY: dict[str, Callable[[bytes], bytes]] = {
    "gzip": lambda data: gzip.compress(data, 9),
    "bzip2": lambda data: bz2.compress(data, 9),
    "xz": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}
_THROUGH_PIPES = {
    "zstd": ("zstd", "-q", "--ultra", "-22", "-c"),
    "brotli": ("brotli", "-q", "11", "-w", "24", "-c"),
}
_TO_ARCHIVES = {
    "ppmd": ("7z", "a", "-m0=PPMd", "-mx=9", "{out}.7z", "{in}"),
    "zpaq": ("zpaq", "add", "{out}.zpaq", "{in}", "-m5"),
    "lpaq1": ("lpaq1", "7", "{in}", "{out}"),
}


def compressed_sizes(data: bytes) -> dict[str, int]:
    """Bytes by compressor; a program that fails, or takes longer than ten minutes, is left out."""
    sizes = {name: len(compress(data)) for name, compress in _LIBRARY.items()}
    for name, command in _THROUGH_PIPES.items():
        found = _run(command, data)
        if found is not None:
            sizes[name] = len(found)
    with tempfile.TemporaryDirectory(prefix="bitlm-bench-") as folder:
        source = Path(folder) / "data"
        source.write_bytes(data)
        for name, command in _TO_ARCHIVES.items():
            size = _archived(command, source, Path(folder) / name)
            if size is not None:
                sizes[name] = size
    return sizes


def appended_bits_per_byte(given: bytes, data: bytes) -> dict[str, float]:
    """What `data` costs after `given`, in bits per byte, by those of Python's library: both together less the first alone."""
    costs = {name: len(compress(given + data)) - len(compress(given)) for name, compress in _LIBRARY.items()}
    return {name: 8 * cost / len(data) for name, cost in costs.items()}


def record_sizes(train: Sequence[NDArray[np.uint8]], test: Sequence[NDArray[np.uint8]]) -> dict[str, int]:
    """Bytes of all test records, each compressed alone: deflated, and by zstd without and with a dictionary of the others."""
    sizes = {"gzip": sum(len(gzip.compress(record.tobytes(), 9)) for record in test)}
    with tempfile.TemporaryDirectory(prefix="bitlm-bench-") as folder:
        root = Path(folder)
        for name, records in (("train", train), ("test", test)):
            (root / name).mkdir()
            for i, record in enumerate(records):
                (root / name / f"{i:08d}").write_bytes(record.tobytes())
        dictionary = root / "dictionary"
        trained = ("zstd", "-q", "--train", "-r", str(root / "train"), f"--maxdict={DICTIONARY_BYTES}", "-o", str(dictionary))
        cases: Mapping[str, tuple[str, ...]] = {"zstd": (), "zstd-dictionary": ("-D", str(dictionary))}
        _run(trained, b"")
        for name, options in cases.items():
            out = root / f"{name}-out"
            out.mkdir()
            where = ("-r", str(root / "test"), "--output-dir-flat", str(out))
            command = ("zstd", "-q", "--ultra", "-22", "--no-check", *options, *where)
            if _run(command, b"") is not None:
                sizes[name] = sum(path.stat().st_size for path in out.iterdir())
    return sizes


def _archived(command: tuple[str, ...], source: Path, target: Path) -> int | None:
    filled = tuple(part.replace("{in}", str(source)).replace("{out}", str(target)) for part in command)
    if _run(filled, b"") is None:
        return None
    made = [path for path in target.parent.glob(f"{target.name}*") if path.is_file()]
    return made[0].stat().st_size if made else None


def _run(command: tuple[str, ...], data: bytes) -> bytes | None:
    """What a program writes, None where there is none or it fails."""
    program = shutil.which(command[0])
    if program is None:
        return None
    try:
        done = subprocess.run(  # noqa: S603 - fixed programs and options, no shell
            [program, *command[1:]], input=data, capture_output=True, timeout=TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None
