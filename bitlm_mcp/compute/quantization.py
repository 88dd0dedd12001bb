"""What Quantize does: another engine beside the one that it is made of, saved before anybody is told of it."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING

import bitlm_core
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.messages import Saved, record_of
from bitlm_mcp.compute.training import write_state

if TYPE_CHECKING:
    from bitlm_core import Engine


def quantize_steps(engines: Engines, command: commands.Quantize) -> Generator[float, None, answers.Quantized]:
    """Quantise, yielding the share done. Where it is stopped or fails, the model that it is made of is as it was."""
    entry = engines.get(command.model, command.trace)
    engines.make_room(entry.engine.config, f"quantising {command.model.model_id!r}", apart_from=command.model.model_id)
    yield 0.0
    engine = yield from bitlm_core.scaled(_engine_steps(entry.engine, command), 0.0, 0.95)
    yield 0.95  # the last point where a stop leaves everything as it was
    made = Entry(engine, command.incarnation, entry.history.again())
    before = _before(entry, command)
    try:
        saved = write_state(made, command.save_to, command.trace)
    except BaseException:
        if before is not None:
            before.path.unlink(missing_ok=True)
        raise
    engines.put(command.to, made)
    return answers.Quantized(
        saved=saved,
        **record_of(made.history),
        before=before,
        network_bytes=bitlm_core.network_bytes(engine),
        network_bytes_before=bitlm_core.network_bytes(entry.engine),
    )


def _engine_steps(engine: Engine, command: commands.Quantize) -> Generator[float, None, Engine]:
    if command.mode == "float32":
        return bitlm_core.dequantize(engine)
    data = command.data.open() if command.data else None
    return (yield from bitlm_core.quantize_steps(engine, command.mode, qat_steps=command.qat_steps, data=data))


def _before(entry: Entry, command: commands.Quantize) -> Saved | None:
    """The state that the source is in, written where it is wanted: not its own state file, so it is as unsaved as before."""
    if command.before_to is None:
        return None
    unsaved = entry.unsaved
    try:
        return write_state(entry, command.before_to, command.trace)
    finally:
        entry.unsaved = unsaved
