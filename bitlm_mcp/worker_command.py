"""`bitlm worker`: what torchrun starts on each machine of a training that several processes share.

Nobody calls it by hand but on the other machines of such a training, with the line that its job tells: `torchrun … -m
bitlm_mcp worker RUN/command.json`. Importing this brings no torch.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated

import typer

from bitlm_mcp.compute.worker import work

Spec = Annotated[Path, typer.Argument(metavar="COMMAND", help="File that says what is to be trained, and how.")]
WithLauncher = Annotated[bool, typer.Option("--with-launcher", help="End when stdin does.")]


def worker(spec: Spec, with_launcher: WithLauncher = False) -> None:
    """Take part in a training, beside others like this."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    work(spec, with_launcher=with_launcher)
