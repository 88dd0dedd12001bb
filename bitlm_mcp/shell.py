"""What commands without a server share: how they refuse, tell how far they are, and find what a state directory holds."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import typer
from rich.console import Console
from rich.progress import Progress

import bitlm_core


@contextmanager
def one_line() -> Iterator[None]:
    """What cannot be done ends with one line on stderr and exit code 1."""
    try:
        yield
    except OSError as error:
        _end(f"{error.strerror}: {str(error.filename)!r}: give another path" if error.filename else str(error))
    except bitlm_core.BitLMError as error:
        _end(error.message)


def _end(message: str) -> NoReturn:
    typer.echo(f"bitlm: {message}", err=True)
    raise typer.Exit(1) from None


def refuse(condition: bool, message: str) -> None:
    """Raise ConfigError where the condition holds."""
    if condition:
        raise bitlm_core.ConfigError(message)


def progress_bar() -> Progress:
    """A bar on stderr, for people who watch."""
    console = Console(stderr=True)
    return Progress(console=console, disable=not console.is_terminal)


def followed(steps: Generator[float, None, Any], what: str) -> Any:
    """What the steps return, with a bar while they run."""
    with progress_bar() as bar:
        task = bar.add_task(what, total=1.0)
        while True:
            try:
                bar.update(task, completed=next(steps))
            except StopIteration as stop:
                return stop.value


def known_engine(name: str, state_dir: Path) -> bitlm_core.Engine:
    """A model: of a file, or of what the state directory knows by this name, as it was saved last; a checkpoint goes first.

    Raises ConfigError where there is none.
    """
    if Path(name).is_file():
        return engine_of(Path(name), name)
    stores = [bitlm_core.CheckpointStore(state_dir / folder) for folder in ("checkpoints", "models")]
    for store in stores:
        if name in store.names():
            return engine_of(store.verified_path(name), name)
    known = ", ".join(sorted({each for store in stores for each in store.names()})) or "none"
    raise bitlm_core.ConfigError(f"there is no file, checkpoint or model {name!r}; {state_dir} has {known}: name one of them")


def engine_of(path: Path, name: str) -> bitlm_core.Engine:
    """The engine in a checkpoint's file."""
    return bitlm_core.Engine.from_state(*bitlm_core.read_file(path, name))
