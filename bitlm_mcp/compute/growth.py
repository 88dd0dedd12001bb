"""What Grow does: a larger engine beside the one there is, both saved before anybody is told of it."""

from __future__ import annotations

from collections.abc import Generator

import bitlm_core
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.messages import Saved
from bitlm_mcp.compute.training import write_state


def growth_steps(engines: Engines, command: commands.Grow) -> Generator[float, None, answers.Grown]:
    """Grow, yielding the share done. Where it is stopped or fails, the model is as it was, and nothing is left behind."""
    yield 0.0
    model_id = command.model.model_id
    entry = engines.get(command.model, command.trace)
    config = bitlm_core.grown_config(entry.engine.config, command.step)
    engines.make_room(config, f"model {model_id!r}, grown by {command.step},", apart_from=model_id)
    steps = bitlm_core.grow_steps(entry.engine, command.step, seed=command.seed)
    engine = yield from bitlm_core.scaled(steps, 0.0, 0.6)
    grown = Entry(engine, command.incarnation, entry.history.again(), entry.trained_by)
    yield 0.6
    before = _before(entry, command)
    try:
        yield 0.8  # the last point where a stop leaves everything as it was
        saved = write_state(grown, command.save_to, command.trace)
    except BaseException:
        before.path.unlink(missing_ok=True)
        raise
    engines.put(model_id, grown)
    return answers.Grown(saved=saved, before=before)


def _before(entry: Entry, command: commands.Grow) -> Saved:
    """The state before; it is not the model's own state file, so the model is as unsaved as it was."""
    unsaved = entry.unsaved
    try:
        return write_state(entry, command.before_to, command.trace)
    finally:
        entry.unsaved = unsaved
