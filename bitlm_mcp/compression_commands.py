"""`bitlm compress` and `bitlm decompress`: files without a server. Importing this brings no torch; only models need it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import Progress

import bitlm_core
from bitlm_mcp import options

In = Annotated[Path, typer.Argument(metavar="IN", help="File to read.")]
Out = Annotated[Path, typer.Argument(metavar="OUT", help="File to make; it appears when it is complete.")]
Model = Annotated[str | None, typer.Option(help="Model or checkpoint of the state directory, or a checkpoint's file.")]
Records = Annotated[str | None, typer.Option(help="With a model, each decodable alone: lines, fixed:N, pcap, whole.")]
Lanes = Annotated[int, typer.Option(min=1, max=64, help="Parts coded at once: faster, and larger.")]
Memory = Annotated[
    int | None, typer.Option("--memory-mib", min=8, max=1024, help="Tables of each lane.", show_default="by the size of IN")
]
MostMemory = Annotated[int, typer.Option("--memory-mib", min=1, help="Most MiB of tables that a file may ask for.")]
Record = Annotated[int | None, typer.Option(min=0, help="Only this record, counted from 0.")]
Force = Annotated[bool, typer.Option("--force", help="Replace OUT.")]


def compress(
    context: typer.Context,
    source: In,
    target: Out,
    model: Model = None,
    records: Records = None,
    lanes: Lanes = 1,
    memory_mib: Memory = None,
    force: Force = False,
    state_dir: options.StateDir = None,
) -> None:
    """Compress a file without loss: with what a model knows, or learning from the file alone."""
    with _one_line(), _lanes(lanes) as run:
        _check_free(target, force)
        data = np.fromfile(source, np.uint8)
        if model is None:
            _refuse(records is not None, "--records needs a --model, which knows the records before it sees them")
            steps = bitlm_core.compress_steps(data, memory_mib=memory_mib, lanes=lanes, run=run)
        else:
            _refuse(memory_mib is not None, "--memory-mib belongs to compression without a --model, which has its own")
            steps = _by_model(_codec(model, state_dir or options.state_home(context.obj)), data, records, lanes, run)
        _write_compressed(target, _followed(steps, "compressing"), len(data), force)


def decompress(
    context: typer.Context,
    source: In,
    target: Out,
    model: Model = None,
    record: Record = None,
    memory_mib: MostMemory = 2048,
    force: Force = False,
    state_dir: options.StateDir = None,
) -> None:
    """Give back what was compressed, all of it or one record; nothing that was not checked."""
    with _one_line():
        _check_free(target, force)
        container = source.read_bytes()
        info = bitlm_core.container_info(container)
        _refuse(model is not None and not info.needs_model, f"{source} ({info.mode}) needs no --model: leave it out")
        codec = _codec(model, state_dir or options.state_home(context.obj)) if model is not None else None
        limits = bitlm_core.DecoderLimits(memory_mib=memory_mib)
        if record is None:
            with _lanes(info.lanes) as run:
                steps = bitlm_core.decompress_steps(container, codec, limits=limits, run=run)
                data = _followed(steps, "decompressing").tobytes()
        else:
            data = bitlm_core.decompress_record(container, codec, record, limits=limits)
        bitlm_core.write_whole(target, data, overwrite=force)
        typer.echo(f"{len(container):,} bytes -> {len(data):,}")


def _by_model(codec: Any, data: NDArray[np.uint8], records: str | None, lanes: int, run: Any) -> Generator[float, None, bytes]:
    _refuse(records is not None and lanes > 1, "--records and --lanes exclude each other: leave one out")
    if records is None:
        return codec.compress_steps(data, lanes=lanes, run=run)  # type: ignore[no-any-return]
    return codec.compress_records_steps(data, records)  # type: ignore[no-any-return]


def _write_compressed(target: Path, container: bytes, num_bytes: int, force: bool) -> None:
    bitlm_core.write_whole(target, container, overwrite=force)
    rate = f", {8 * len(container) / num_bytes:.3f} bits per byte" if num_bytes else ""
    typer.echo(f"{num_bytes:,} bytes -> {len(container):,}{rate} ({bitlm_core.container_info(container).mode})")


@contextmanager
def _one_line() -> Iterator[None]:
    """What cannot be done ends with one line on stderr and exit code 1."""
    try:
        yield
    except (OSError, bitlm_core.BitLMError) as error:
        typer.echo(f"bitlm: {error}", err=True)
        raise typer.Exit(1) from None


def _refuse(condition: bool, message: str) -> None:
    if condition:
        raise bitlm_core.ConfigError(message)


def _check_free(target: Path, force: bool) -> None:
    """Before the work, not after it."""
    _refuse(target.exists() and not force, f"{target} exists already: choose another name, or --force")
    _refuse(not target.absolute().parent.is_dir(), f"there is no folder {target.absolute().parent}: make it first")


@contextmanager
def _lanes(lanes: int) -> Iterator[Any]:
    """How lanes are gone through: at once."""
    if lanes == 1:
        yield map
        return
    with ThreadPoolExecutor(lanes) as pool:
        yield pool.map


def _codec(name: str, state_dir: Path) -> Any:
    """The codec of a model: of a file, or of what the state directory knows by this name. A checkpoint goes first."""
    path = Path(name)
    if not path.is_file():
        stores = [bitlm_core.CheckpointStore(state_dir / folder) for folder in ("checkpoints", "models")]
        found = [store for store in stores if name in store.names()]
        _refuse(
            not found,
            f"there is no file, checkpoint or model {name!r}; {state_dir} has "
            f"{', '.join(sorted({known for store in stores for known in store.names()})) or 'none'}: name one of them",
        )
        path = found[0].verified_path(name)
    tensors, header = bitlm_core.read_file(path, name)
    for ours in ("history", "alerts", "trained_by"):  # the server's, beside the engine's own
        header.pop(ours, None)
    engine = bitlm_core.Engine.from_state(tensors, header)
    return bitlm_core.ModelCodec(engine.model, engine.mixer)


def _followed(steps: Generator[float, None, Any], what: str) -> Any:
    """What the steps return, with a bar on stderr while they run, for people who watch."""
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task(what, total=1.0)
        while True:
            try:
                bar.update(task, completed=next(steps))
            except StopIteration as stop:
                return stop.value
