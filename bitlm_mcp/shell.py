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


def saved_as(name: str, state_dir: Path) -> tuple[Path | None, str]:
    """The file of a checkpoint, or else of a model as it was saved last, by its name; and the names that there are."""
    stores = [bitlm_core.CheckpointStore(state_dir / folder) for folder in ("checkpoints", "models")]
    known = ", ".join(sorted({each for store in stores for each in store.names()})) or "none"
    found = [store for store in stores if name in store.names()]
    return (found[0].verified_path(name) if found else None), known


def engine_of(path: Path, name: str) -> bitlm_core.Engine:
    """The engine in a checkpoint's file."""
    return bitlm_core.Engine.from_state(*bitlm_core.read_file(path, name))
