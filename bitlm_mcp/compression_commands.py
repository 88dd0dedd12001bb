"""`bitlm compress` and `bitlm decompress`: files without a server. Importing this brings no torch; only models need it."""

from __future__ import annotations

import time
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

import bitlm_core
from bitlm_core import CodecName
from bitlm_mcp import options
from bitlm_mcp.shell import followed, known_engine, one_line, refuse

In = Annotated[Path, typer.Argument(metavar="IN", help="File to read.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="File to make; it appears when it is complete.")]
Model = Annotated[str | None, typer.Option(help="Model or checkpoint of the state directory, or a checkpoint's file.")]
Records = Annotated[str | None, typer.Option(help="With a model, each decodable alone: lines, fixed:N, pcap, whole.")]
Lanes = Annotated[int, typer.Option(min=1, max=64, help="Parts coded at once: faster, and larger.")]
Memory = Annotated[
    int | None, typer.Option("--memory-mib", min=8, max=1024, help="Tables of each lane.", show_default="by the size of IN")
]
MostMemory = Annotated[int, typer.Option("--memory-mib", min=1, help="Most MiB of tables that a file may ask for.")]
MOST_MEMORY = 2048
Record = Annotated[int | None, typer.Option(min=0, help="Only this record, counted from 0.")]
Codec = Annotated[CodecName, typer.Option(help="model: bitlm's own; the others know no models or records.")]
MostBytes = Annotated[int, typer.Option(min=1, help="Most bytes that OUT may have.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT.")]


def compress(
    context: typer.Context,
    source: In,
    target: Out,
    model: Model = None,
    records: Records = None,
    lanes: Lanes = 1,
    memory_mib: Memory = None,
    codec: Codec = "model",
    force: Force = False,
    state_dir: options.StateDir = None,
) -> None:
    """Compress a file without loss: with what a model knows, or learning from the file alone; or with another codec."""
    with one_line(), _lanes(lanes) as run:
        check_free(target, force)
        _check_codec(codec, model=model, records=records, memory_mib=memory_mib, lanes=lanes if lanes > 1 else None)
        data = np.fromfile(source, np.uint8)
        if codec != "model":
            steps = bitlm_core.general_codec(codec).encode_steps(data)
        elif model is None:
            refuse(records is not None, "--records needs a --model, which knows the records before it sees them")
            steps = bitlm_core.compress_steps(data, memory_mib=memory_mib, lanes=lanes, run=run)
        else:
            refuse(memory_mib is not None, "--memory-mib belongs to compression without a --model, which has its own")
            steps = _by_model(_codec(model, state_dir or options.state_home(context.obj)), data, records, lanes, run)
        started = time.process_time()
        made = followed(steps, "compressing")
        _write_compressed(target, made, len(data), time.process_time() - started, codec, force)


def decompress(
    context: typer.Context,
    source: In,
    target: Out,
    model: Model = None,
    record: Record = None,
    memory_mib: MostMemory = MOST_MEMORY,
    codec: Codec = "model",
    max_bytes: MostBytes = 1 << 31,
    force: Force = False,
    state_dir: options.StateDir = None,
) -> None:
    """Give back what was compressed, all of it or one record; nothing that was not checked."""
    with one_line():
        check_free(target, force)
        _check_codec(codec, model=model, record=record, memory_mib=None if memory_mib == MOST_MEMORY else memory_mib)
        container = source.read_bytes()
        if codec != "model":
            steps = bitlm_core.general_codec(codec).decode_steps(container, max_bytes)
            _write_decompressed(target, followed(steps, "decompressing"), len(container), force)
            return
        info = bitlm_core.container_info(container)
        refuse(model is not None and not info.needs_model, f"{source} ({info.mode}) needs no --model: leave it out")
        known = _codec(model, state_dir or options.state_home(context.obj)) if model is not None else None
        limits = bitlm_core.DecoderLimits(num_bytes=max_bytes, memory_mib=memory_mib)
        if record is None:
            with _lanes(info.lanes) as run:
                whole = bitlm_core.decompress_steps(container, known, limits=limits, run=run)
                data = followed(whole, "decompressing").tobytes()
        else:
            data = bitlm_core.decompress_record(container, known, record, limits=limits)
        _write_decompressed(target, data, len(container), force)


def _by_model(codec: Any, data: NDArray[np.uint8], records: str | None, lanes: int, run: Any) -> Generator[float, None, bytes]:
    refuse(records is not None and lanes > 1, "--records and --lanes exclude each other: leave one out")
    if records is None:
        return codec.compress_steps(data, lanes=lanes, run=run)  # type: ignore[no-any-return]
    return codec.compress_records_steps(data, records)  # type: ignore[no-any-return]


def _check_codec(codec: str, **options_of_models: object) -> None:
    given = [f"--{name.replace('_', '-')}" for name, value in options_of_models.items() if value is not None]
    refuse(codec != "model" and bool(given), f"--codec {codec} knows no {', '.join(given)}: leave that out, or --codec")


def _write_compressed(target: Path, made: bytes, num_bytes: int, seconds: float, codec: str, force: bool) -> None:
    bitlm_core.write_whole(target, made, overwrite=force)
    mode = bitlm_core.container_info(made).mode if codec == "model" else codec
    ratio = len(made) / num_bytes if num_bytes else 0.0
    rate = f", {8 * ratio:.3f} bits per byte, ratio {ratio:.4f}" if num_bytes else ""
    typer.echo(f"{num_bytes:,} bytes -> {len(made):,}{rate}, {seconds:.3g} CPU-s ({mode})")


def _write_decompressed(target: Path, data: bytes, num_bytes: int, force: bool) -> None:
    bitlm_core.write_whole(target, data, overwrite=force)
    typer.echo(f"{num_bytes:,} bytes -> {len(data):,}")


def check_free(target: Path, force: bool) -> None:
    """Before the work, not after it."""
    refuse(target.exists() and not force, f"{target} exists already: choose another name, or --force")
    refuse(not target.absolute().parent.is_dir(), f"there is no folder {target.absolute().parent}: make it first")


@contextmanager
def _lanes(lanes: int) -> Iterator[Any]:
    """How lanes are gone through: at once."""
    if lanes == 1:
        yield map
        return
    with ThreadPoolExecutor(lanes) as pool:
        yield pool.map


def _codec(name: str, state_dir: Path) -> Any:
    engine = known_engine(name, state_dir)
    return bitlm_core.ModelCodec(engine.model, engine.mixer)
