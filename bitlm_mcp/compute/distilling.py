"""What Distill does: a student is made, and saved when it is done. Until then there is nothing of it but memory."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Generator
from typing import TYPE_CHECKING, TypeVar

import bitlm_core
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.messages import record_of
from bitlm_mcp.compute.points import drifts_of, point_of
from bitlm_mcp.compute.training import write_state
from bitlm_mcp.history import History

if TYPE_CHECKING:
    from bitlm_core import DistillProgress

Made = TypeVar("Made")


def distill_steps(engines: Engines, command: commands.Distill) -> Generator[DistillProgress, None, answers.Distilled]:
    """Distil, yielding how far it is. The teacher stays as it is; the student is in memory and saved at the end."""
    teacher = engines.get(command.model, command.trace).engine
    estimate = bitlm_core.estimate_distill_bytes(teacher.config, command.config, command.settings, command.data.num_bytes)
    engines.make_room_for(estimate, f"distilling {command.model.model_id!r}", apart_from=command.model.model_id)
    records: defaultdict[int, History] = defaultdict(History)
    steps = bitlm_core.distill_steps(teacher, command.data.open(), command.held_out.open(), command.config, command.settings)
    found = yield from recorded(steps, records)
    entry = Entry(found.student, command.incarnation, records[found.report.best])
    saved = write_state(entry, command.save_to, command.trace)
    engines.put(command.student_id, entry)
    return answers.Distilled(saved=saved, metrics=found.report.plain(), **record_of(entry.history))


def recorded(
    steps: Generator[DistillProgress, None, Made], records: defaultdict[int, History]
) -> Generator[DistillProgress, None, Made]:
    """The same steps; the training of each student is recorded by its round, from 0."""
    while True:
        started = time.perf_counter()
        try:
            progress = next(steps)
        except StopIteration as stop:
            made: Made = stop.value
            return made
        if progress.step is not None:
            record = records[progress.round - 1]
            record.add(point_of(progress.step, time.perf_counter() - started))
            record.mark(drifts_of(progress.step))
            record.warn(mark.text for mark in drifts_of(progress.step))
        yield progress
