"""The models in memory. What is idle and saved gives way, least recently used first, when another needs the room."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import bitlm_core
from bitlm_core import CheckpointCorruptError, ResourceLimitError, digest_of, estimate_engine_bytes, require_memory
from bitlm_mcp.compute.messages import ModelFacts, ModelRef
from bitlm_mcp.compute.tracing import span
from bitlm_mcp.history import History

if TYPE_CHECKING:  # brings torch, which only the compute side may load, at its first command
    from pathlib import Path

    from bitlm_core import Engine, EngineConfig

NO_TRACE: Mapping[str, str] = {}


@dataclass
class Entry:
    """One model in memory. `unsaved`: it knows more than its state file, so it must stay.

    read_from: SHA-256 of the state file that it was read from, if it is still as that says.
    """

    engine: Engine
    incarnation: int
    history: History = field(default_factory=History)
    trained_by: str | None = None
    unsaved: bool = False
    read_from: str | None = None
    used: float = 0.0

    @property
    def facts(self) -> ModelFacts:
        """What it is, without its tensors."""
        engine = self.engine
        return ModelFacts(
            config=engine.config,
            step=engine.step,
            diffusion_steps=engine.diffusion_steps,
            plan=engine.plan,
            trained_by=self.trained_by,
        )


class Engines:
    """By model id; touched by the compute thread alone."""

    def __init__(self, device: str = "cpu") -> None:
        self.device = device
        self._entries: dict[str, Entry] = {}

    def __len__(self) -> int:
        return len(self._entries)

    def get(self, model: ModelRef, trace: Mapping[str, str] = NO_TRACE) -> Entry:
        """The model, from memory or from its state file. Raises what reading a state file raises.

        What was read is read again when another state was saved since, which a process of its own does that trains the model.
        """
        entry = self._entries.get(model.model_id)
        if entry is None or entry.incarnation != model.incarnation or _behind(entry, model):
            entry = self.read(model, model.model_id, trace)
            self._entries[model.model_id] = entry
        entry.used = time.monotonic()
        return entry

    def read(self, model: ModelRef, name: str, trace: Mapping[str, str] = NO_TRACE) -> Entry:
        """What a state file holds; not kept. Raises CheckpointError, ModelStateError or ResourceLimitError."""
        with span("load", trace, model_id=model.model_id):
            return self._read(model, name)

    def _read(self, model: ModelRef, name: str) -> Entry:
        _check_intact(model)
        config = _config_in(model.state, name)
        self.make_room(config, f"model {model.model_id!r}", apart_from=model.model_id)
        tensors, header = bitlm_core.read_file(model.state, name)
        try:
            history = History.told(header)
            trained_by = header.pop("trained_by", None)
        except (KeyError, TypeError, ValueError) as error:
            raise _foreign(name, error) from error
        engine = bitlm_core.Engine.from_state(tensors, header, self.device)
        return Entry(engine, model.incarnation, history, trained_by, read_from=model.sha256)

    def put(self, model_id: str, entry: Entry) -> None:
        """Keep a model in memory, in place of any other of that id."""
        entry.used = time.monotonic()
        self._entries[model_id] = entry

    def drop(self, model_id: str) -> None:
        """Forget a model; its state file stays."""
        self._entries.pop(model_id, None)

    def make_room(self, config: EngineConfig, what: str, *, apart_from: str) -> None:
        """Unload idle models until one of this config fits. Raises ResourceLimitError when that is not enough."""
        self.make_room_for(estimate_engine_bytes(config), what, apart_from=apart_from)

    def make_room_for(self, estimate: int, what: str, *, apart_from: str) -> None:
        """The same for so many bytes."""
        while True:
            try:
                return require_memory(estimate, what)
            except ResourceLimitError:
                idle = [(entry.used, name) for name, entry in self._entries.items() if not entry.unsaved and name != apart_from]
                if not idle:
                    raise
                self.drop(min(idle)[1])


def _behind(entry: Entry, model: ModelRef) -> bool:
    return not entry.unsaved and None not in (entry.read_from, model.sha256) and entry.read_from != model.sha256


def _check_intact(model: ModelRef) -> None:
    if model.sha256 is None:
        return
    with suppress(OSError):
        if digest_of(model.state) == model.sha256:
            return
    if model.state.exists():
        what = f"is damaged: its data is not what was saved (SHA-256 {model.sha256[:12]}… expected)"
    else:
        what = "is not there: where another process has just saved a later one, call again"
    raise CheckpointCorruptError(
        f"the saved state of model {model.model_id!r} {what}. Make the model anew with load_checkpoint or init_model, and "
        "overwrite=true",
        name=model.model_id,
    )


def _config_in(path: Path, name: str) -> EngineConfig:
    try:
        return bitlm_core.EngineConfig.model_validate(bitlm_core.read_header(path, name)["config"])
    except (KeyError, TypeError, ValueError) as error:
        raise _foreign(name, error) from error


def _foreign(name: str, error: Exception) -> CheckpointCorruptError:
    return CheckpointCorruptError(
        f"checkpoint {name!r} has a header that this program cannot read ({type(error).__name__}): load another one",
        name=name,
    )
