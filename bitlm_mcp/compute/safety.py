"""Generating under the gate, and calibrating it."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import bitlm_core
from bitlm_core import BitLMError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.points import generated

if TYPE_CHECKING:  # brings torch, which only the compute side may load, at its first command
    from bitlm_core import Calibration, Engine


def infer_steps(engine: Engine, command: commands.Infer) -> Generator[float, None, answers.GenerationOutcome]:
    """Continue a prompt, with as many attempts as were asked for where the gate looks at the output."""
    asked = (command.prompt, command.max_new_bytes, command.sampling)
    if command.safety == "off":
        return generated(engine, (yield from engine.infer_steps(*asked)))
    found = yield from bitlm_core.safe_sample_steps(engine, *asked, safety="warn", attempts=command.attempts)
    attempts = tuple(answers.AttemptMade(**vars(attempt)) for attempt in found.attempts)
    return generated(engine, (found.generation, found.verdict)).model_copy(update={"attempts": attempts})


@contextmanager
def adopted(engine: Engine, found: Calibration) -> Iterator[None]:
    """The engine demands what was found; where the block fails, what it demanded before."""
    before = bitlm_core.Calibration(engine.config.floors, engine.standard, 0)
    bitlm_core.adopt_floors(engine, found)
    try:
        yield
    except BitLMError:
        bitlm_core.adopt_floors(engine, before)
        raise
