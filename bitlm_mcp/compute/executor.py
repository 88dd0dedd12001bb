"""What each command does to a model: a generator that yields at every safe point and returns the answer.

    learn    Train, Distill ─→ …train_steps ─→ a point per step, a saved state now and then
    answer   Infer, Score, … ─→ Engine.…_steps ─→ Answer
    keep     Create, Load, Write, Drop

At a safe point the command may be stopped by throwing `Stopped` into it; a training then saves before it ends.
"""

from __future__ import annotations

from collections.abc import Generator
from functools import partial, singledispatchmethod
from typing import TYPE_CHECKING, Any

import numpy as np

import bitlm_core
from bitlm_core import BitLMError
from bitlm_mcp.compute import answers, commands
from bitlm_mcp.compute.afterwards import end_steps
from bitlm_mcp.compute.compression import coded_steps, compress_steps, decompress_steps
from bitlm_mcp.compute.distilling import distill_steps
from bitlm_mcp.compute.engines import Engines, Entry
from bitlm_mcp.compute.events import Progress, preview_of
from bitlm_mcp.compute.growth import growth_steps
from bitlm_mcp.compute.launch import launched_steps
from bitlm_mcp.compute.messages import Asked, Message, record_of
from bitlm_mcp.compute.patches import patches_steps
from bitlm_mcp.compute.points import filled
from bitlm_mcp.compute.quantization import quantize_steps
from bitlm_mcp.compute.repair import repair_steps
from bitlm_mcp.compute.safety import adopted, infer_steps
from bitlm_mcp.compute.scoring import record_places, score_outcome
from bitlm_mcp.compute.stopping import ModelLostError, Stopped
from bitlm_mcp.compute.surprise import surprise_steps
from bitlm_mcp.compute.tracing import span
from bitlm_mcp.compute.training import Training, write_state

if TYPE_CHECKING:  # brings torch, which is loaded at the first command
    from bitlm_core import Engine

Steps = Generator[Progress, None, Message]

_MAKERS = {
    commands.Distill: distill_steps,
    commands.Compress: compress_steps,
    commands.Decompress: decompress_steps,
    commands.Repair: repair_steps,
    commands.InspectPatches: patches_steps,
    commands.ShowSurprise: surprise_steps,
    commands.Grow: growth_steps,
    commands.Quantize: quantize_steps,
}


class Executor:
    """The models, and what can be done with them. Used by one thread; `device`: where they compute, by torch's name."""

    def __init__(self, device: str = "cpu") -> None:
        self.engines = Engines(device)

    @singledispatchmethod
    def execute(self, command: Message) -> Steps:
        """Run a command."""
        raise AssertionError(f"no way to execute {type(command).__name__}")

    @execute.register
    def _create(self, command: commands.Create) -> Steps:
        yield Progress(share=0.0)  # the last point where a stop leaves everything as it was
        self.engines.make_room(command.config, f"model {command.model_id!r}", apart_from=command.model_id)
        entry = Entry(bitlm_core.Engine(command.config, self.engines.device), command.incarnation)
        saved = write_state(entry, command.save_to, command.trace)
        self.engines.put(command.model_id, entry)
        return answers.Written(saved=saved)

    @execute.register
    def _load(self, command: commands.Load) -> Steps:
        yield Progress(share=0.0 if command.keep else 1.0)  # where it was pulled, that was the way
        entry = self.engines.read(command.model, command.checkpoint, command.trace)
        if command.keep:
            self.engines.put(command.model.model_id, entry)
        return answers.Loaded(facts=entry.facts, **record_of(entry.history))

    @execute.register
    def _write(self, command: commands.Write) -> Steps:
        yield Progress(share=0.0)
        return answers.Written(
            saved=write_state(self.engines.get(command.model, command.trace), command.save_to, command.trace)
        )

    @execute.register
    def _watch(self, command: commands.Watch) -> Steps:
        yield Progress(share=0.0)
        entry = self.engines.get(command.model, command.trace)
        before = entry.engine.config
        entry.engine.set_telemetry(command.telemetry, command.floors)
        try:
            saved = write_state(entry, command.save_to, command.trace)
        except BitLMError:  # what is not saved is not said to hold
            entry.engine.set_telemetry(before.telemetry, before.floors)
            raise
        return answers.Written(saved=saved)

    @execute.register
    def _drop(self, command: commands.Drop) -> Steps:
        self.engines.drop(command.model_id)
        yield Progress(share=1.0)
        return answers.Dropped()

    @execute.register
    def _train(self, command: commands.Train) -> Steps:
        if command.processes is not None:
            return (yield from launched_steps(self.engines, command))
        entry, name = self.engines.get(command.model, command.trace), command.model.model_id
        make_room = partial(self.engines.make_room, what=f"training {name!r}", apart_from=name)
        make_room(entry.engine.config.model_copy(update={"training": command.training}))
        training = Training(entry, command, make_room)
        try:
            yield from training.steps()
        except (MemoryError, RuntimeError) as error:
            # In the middle of an optimizer step nobody knows what the weights are: back to the last saved state.
            self.engines.drop(command.model.model_id)
            raise ModelLostError from error
        except (BitLMError, Stopped):
            if entry.unsaved:  # both leave the model at its last whole step, which is worth keeping
                yield training.saving()
            raise
        room_for = partial(self.engines.make_room_for, what=f"a small model of {name!r}", apart_from=name)
        return (yield from end_steps(training, entry, command, room_for))

    @execute.register
    def _score(self, command: commands.Score) -> Steps:
        engine = self.engines.get(command.model, command.trace).engine
        data = command.data.open()
        spans = record_places(data, command.records)
        yield Progress(share=0.0)
        found = yield from _shares(engine.score_steps(data.array, spans, adaptive=command.adaptive), command)
        return score_outcome(found, data.array, command.top)

    @execute.register
    def _infer(self, command: commands.Infer) -> Steps:
        engine = self.engines.get(command.model, command.trace).engine
        steps = coded_steps(engine, command, infer_steps(engine, command))
        return (yield from _shares(steps, command))  # type: ignore[no-any-return]

    @execute.register
    def _calibrate(self, command: commands.Calibrate) -> Steps:
        entry = self.engines.get(command.model, command.trace)
        data = command.data.open().array
        found = yield from _shares(bitlm_core.calibrate_steps(entry.engine, data, command.quantile), command)
        with adopted(entry.engine, found):
            saved = write_state(entry, command.save_to, command.trace)
        return answers.Calibrated(saved=saved, num_generations=found.num_generations)

    @execute.register
    def _diffusion_sample(self, command: commands.DiffusionSample) -> Steps:
        engine = self.engines.get(command.model, command.trace).engine
        template = bitlm_core.Template(command.data, command.known, command.prefix, command.suffix)

        def steps() -> Generator[Any, None, Message]:
            found = yield from engine.diffusion_sample_steps(template, command.sampling)
            return filled(engine, found, traced=command.traced)

        return (yield from _shares(coded_steps(engine, command, steps()), command))  # type: ignore[no-any-return]

    @execute.register
    def _make(self, command: commands.Making) -> Steps:
        steps: Any = _MAKERS[type(command)]
        return (yield from _shares(steps(self.engines, command), command))  # type: ignore[no-any-return]

    @execute.register
    def _infer_long(self, command: commands.InferLong) -> Steps:
        engine = self.engines.get(command.model, command.trace).engine
        steps = coded_steps(engine, command, _long_steps(engine, command))
        return (yield from _shares(steps, command))  # type: ignore[no-any-return]


def _long_steps(engine: Engine, command: commands.InferLong) -> Generator[Any, None, answers.LongOutcome]:
    """Predict along data; all bits into the output."""
    data = command.data.open().array
    found = yield from engine.infer_long_steps(data, ctx_bits=command.ctx_bits, overlap=command.overlap, carry=command.carry)
    command.output.write_bytes(np.packbits(found.bits).tobytes())
    total = sum(window.num_bytes for window in found.windows)
    mean = {
        name: sum(getattr(window, name) * window.num_bytes for window in found.windows) / total
        for name in ("bits_per_byte", "accuracy")
    }
    return answers.LongOutcome(
        ctx_bits=found.ctx_bits,
        overlap=found.overlap,
        num_bits=9 * len(found.predicted),
        num_windows=len(found.windows),
        first_bits=np.packbits(found.bits[: 9 * command.first_bytes]).tobytes(),
        windows=tuple(answers.Window(**vars(window)) for window in found.windows[: command.first_windows]),
        **mean,
    )


def _shares(steps: Generator[Any, None, Any], command: Asked) -> Generator[Progress, None, Any]:
    """Tell the shares that a reading generator of the engine yields, or whatever has one; what it returns."""
    with span("sample", command.trace, command=type(command).__name__):
        while True:
            try:
                share = next(steps)
            except StopIteration as stop:
                return stop.value
            yield Progress(share=getattr(share, "share", share), preview=preview_of(share))
