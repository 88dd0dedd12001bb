"""The end of a training: the model is saved, and where its plan asks for a small one beside it, that is made then.

Until it is made, there is nothing of it but memory, and the model that was trained stays as it was saved.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Generator
from typing import TYPE_CHECKING

import bitlm_core
from bitlm_core import BitLMError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.distilling import recorded
from bitlm_mcp.compute.engines import Entry
from bitlm_mcp.compute.events import Progress
from bitlm_mcp.compute.training import TRAINED, Training, write_state
from bitlm_mcp.history import History

if TYPE_CHECKING:
    from bitlm_core import Small


def end_steps(
    training: Training, entry: Entry, command: commands.Train, make_room_for: Callable[[int], None]
) -> Generator[Progress, None, answers.Written]:
    """Save a training that is over, and make the small model. make_room_for: raises ResourceLimitError for so many bytes."""
    if command.small_to is None:
        return answers.Written(saved=training.save())
    yield training.saved()
    try:
        made = yield from small_steps(training, entry, command, make_room_for)
    except BitLMError as error:
        message = f"the model was trained and saved, but no smaller one was made of it: {error.message}"
        raise type(error)(message, **error.facts) from error
    entry.history.warn((made.message,))
    try:
        return answers.Written(saved=training.save(), small=made)
    except BaseException:
        made.saved.path.unlink(missing_ok=True)
        raise


def small_steps(
    training: Training, entry: Entry, command: commands.Train, make_room_for: Callable[[int], None]
) -> Generator[Progress, None, answers.SmallMade]:
    """Make the small model that the plan asks for, and write it into the folder `small_to`."""
    engine, growing, held_out = entry.engine, command.plan.growing, command.held_out
    if growing is None or held_out is None or command.small_to is None:
        raise AssertionError("only a training that grows, with somewhere to keep it, ends with a small model")
    settings, data = growing.settings, command.data.open()
    make_room_for(bitlm_core.estimate_small_bytes(engine.config, settings, command.data.num_bytes))
    records: defaultdict[int, History] = defaultdict(History)
    steps = recorded(bitlm_core.small_steps(engine, data, held_out.open(), settings), records)
    while True:
        try:
            told = next(steps)
        except StopIteration as stop:
            found: Small = stop.value
            break
        yield training.standing(TRAINED + (1 - TRAINED) * told.share, "making a smaller model")
    learned = records[found.distilled.best] if found.distilled else entry.history
    made = Entry(found.engine, entry.incarnation, learned.again())
    saved = write_state(made, command.small_to, command.trace)
    return answers.SmallMade(saved=saved, message=found.report.message(engine.step), report=found.report.plain())
