"""What ShowSurprise does: an excerpt of data is scored, and told as levels."""

from __future__ import annotations

from collections.abc import Generator

import numpy as np

import bitlm_core
from bitlm_core import scaled
from bitlm_mcp.compute import commands
from bitlm_mcp.compute.engines import Engines
from bitlm_mcp.compute.levels import SurpriseOutcome, levels
from bitlm_mcp.compute.scoring import record_places


def surprise_steps(engines: Engines, command: commands.ShowSurprise) -> Generator[float, None, SurpriseOutcome]:
    """Look at an excerpt, yielding the share done."""
    yield 0.0
    engine = engines.get(command.model, command.trace).engine
    data = command.data.open()
    documents = record_places(data, None)
    where = {"offset": command.offset, "num_bytes": command.num_bytes}
    steps = bitlm_core.excerpt_steps(engine.model, engine.mixer, data.array, documents, **where)
    found = yield from scaled(steps, 0.0, 1.0)
    cells = bitlm_core.cells_of(found.surprise, command.cells)
    begin = command.shown_at - command.offset
    shown = slice(begin, begin + command.shown)
    return SurpriseOutcome(
        offset=found.offset,
        num_bytes=len(found.surprise),
        total_bytes=len(data),
        bits_per_byte=found.bits_per_byte,
        cell_bytes=cells.size,
        peaks=levels(cells.peak),
        means=levels(cells.mean),
        shown_at=command.shown_at,
        data=data.array[found.offset :][: len(found.surprise)][shown].tobytes(),
        surprise=levels(found.surprise[shown]),
        patches=None if found.starts is None else tuple(np.flatnonzero(found.starts[shown]).tolist()),
    )
