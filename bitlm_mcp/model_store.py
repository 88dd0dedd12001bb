"""The models of a state directory: each has a saved state on the disk, and this process's knowledge of it.

    models/ID/manifest.json, <sha256>.safetensors    the last saved state, and the one before it

A state is published inside the model's lease, together with what the database says of it. What another process publishes is
noticed by `refresh`; the model is then another incarnation, and whoever had it in memory reads it again. While another process
trains a model, `tell` there and `refresh` here let its curve run ahead of that state.
"""

from __future__ import annotations

import logging
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from bitlm_core import (
    BitLMError,
    CheckpointInfo,
    CheckpointStore,
    CheckpointVersionError,
    read_header,
)
from bitlm_mcp.compute.messages import ModelFacts, ModelRef, Saved
from bitlm_mcp.errors import UnknownHandleError
from bitlm_mcp.history import History
from bitlm_mcp.known_model import Model
from bitlm_mcp.leases import Lease, Leases
from bitlm_mcp.records import ModelRow, Records
from bitlm_mcp.snapshot import HistoryPoint, Mark

log = logging.getLogger("bitlm.models")


class ModelStore:
    """All models; used under the workspace's lock, except for what touches the disk alone."""

    def __init__(self, root: Path, records: Records, leases: Leases) -> None:
        self._files = CheckpointStore(root, keep_previous=True)
        self._records = records
        self._leases = leases
        self._lock = threading.RLock()
        self._recording = threading.Lock()
        """Held while points of models that are known already are written down."""
        self._models: dict[str, Model] = {}
        self._incarnations = 0
        self._reconcile()
        self.refresh()

    def sweep(self) -> None:
        """As `CheckpointStore.sweep`."""
        self._files.sweep()

    def get(self, model_id: str) -> Model:
        """The model. Raises UnknownHandleError."""
        model = self._models.get(model_id)
        if model is None:
            raise UnknownHandleError("model", model_id, list(self._models), "call init_model or load_checkpoint")
        return model

    def find(self, model_id: str) -> Model | None:
        """The model, if there is one of that id."""
        return self._models.get(model_id)

    def __len__(self) -> int:
        return len(self._models)

    def all(self) -> list[Model]:
        """All models, in the order of their ids."""
        return [model for _, model in sorted(self._models.items())]

    def ref(self, model_id: str) -> ModelRef:
        """What the compute side needs to use a model. Raises UnknownHandleError."""
        with self._lock:
            model = self.get(model_id)
            state = self._state_of(model)
            return ModelRef(model_id=model_id, incarnation=model.incarnation, state=state, sha256=model.sha256)

    def new_incarnation(self) -> int:
        """For a model that is about to take the place of another."""
        with self._lock:
            self._incarnations += 1
            return self._incarnations

    def folder(self, model_id: str) -> Path:
        """Where states of that model may be written before they are published."""
        return self._files.scratch(model_id).parent

    def scratch(self, model_id: str) -> Path:
        """A path for a state of that model that is to be published."""
        return self._files.scratch(model_id)

    def hold(self, model_id: str, target: Path) -> CheckpointInfo:
        """Give the saved state of a model another name as well. Raises CheckpointError."""
        return self._files.hold(model_id, target)

    def install(
        self,
        model_id: str,
        incarnation: int,
        saved: Saved,
        history: History,
        lease: Lease,
        metrics: Mapping[str, Any] | None = None,
    ) -> None:
        """Publish the first state of a model that is fresh or loaded, in place of any other of that id.

        metrics: what `metrics.json` beside the state is to tell of it.
        """
        info = self._publish(model_id, saved, history.points, history, lease, afresh=True)
        try:
            self._files.tell_metrics(model_id, metrics)
        except BitLMError as error:  # the model itself is there
            log.warning("metrics.json of model %s: %s", model_id, error.message)
        with self._lock:
            self._models[model_id] = Model.saved(model_id, incarnation, saved.facts, info.sha256, history)

    def advance(self, model_id: str, point: HistoryPoint | None, alerts: tuple[str, ...], marks: tuple[Mark, ...] = ()) -> None:
        """Take note of a training step of this process, of what it warns of, and of what happened at it."""
        model = self._models.get(model_id)
        if model is None:
            return
        model.history.warn(alerts)
        if point is not None:
            if point.step > model.step:
                model.history.add(point)
            else:  # what came after the one before was undone
                with self._lock:
                    model.history.add(point)
                    model.recorded_step = min(model.recorded_step, point.step - 1)
            model.step, model.unsaved = point.step, True
        if marks:
            with self._lock:  # `refresh` puts marks there too
                model.history.mark(marks)

    def publish(self, model_id: str, saved: Saved, lease: Lease) -> None:
        """Publish a later state of a model that this process trains, with its points since the one before."""
        model = self.get(model_id)
        if saved.facts.step < model.step:  # what came after it was undone
            model.history.cut(saved.facts.step)
            model.step = saved.facts.step
        with self._recording:
            points = [point for point in model.history.points if point.step > model.recorded_step]
            info = self._publish(model_id, saved, points, model.history, lease, afresh=False)
            with self._lock:
                model.sha256, model.facts, model.recorded_step = info.sha256, saved.facts, saved.facts.step
                model.unsaved = model.step > saved.facts.step

    def tell(self) -> None:
        """Record what the curves of models that this process trains have beyond the database, for the other processes."""
        for model in self.all():
            lease = self._leases.held(model.model_id)
            if lease is not None:
                with self._recording:
                    self._tell(model, lease)

    def _tell(self, model: Model, lease: Lease) -> None:
        with self._lock:
            points = [point for point in model.history.points if point.step > model.recorded_step]
            alerts, drift = model.history.alerts, [mark for mark in model.history.marks if mark.kind == "drift"]
            if not points:
                return
            model.recorded_step = points[-1].step  # before it is: a step may be undone meanwhile
        try:
            with self._leases.fenced(lease) as transaction:
                self._records.curves.add(transaction, model.model_id, points, alerts, drift)
        except BitLMError:
            with self._lock:
                model.recorded_step = min(model.recorded_step, points[0].step - 1)
            raise

    def delete(self, model_id: str) -> None:
        """Remove a model with its states."""
        self._files.delete(model_id, self._records.forgetting_model(model_id))
        with self._lock:
            self._models.pop(model_id, None)

    def fall_back(self, model_id: str | None = None) -> None:
        """What memory knew more is lost, of one model or of all: they are what their saved states say."""
        with self._lock:
            for model in list(self._models.values()):
                if model.unsaved and model_id in (None, model.model_id):
                    del self._models[model.model_id]
            self.refresh()

    def refresh(self, taken: str | None = None) -> None:
        """Take note of what other processes have published or removed.

        What this process is writing it knows better than the database, unless its lease was `taken` only now.
        """
        with self._lock:
            rows, elsewhere, drift = self._records.models(), self._leases.elsewhere(), self._records.curves.marks("drift")
            for model_id, row in rows.items():
                known, own = self._models.get(model_id), model_id != taken and self._leases.held(model_id)
                if known is None or (known.sha256 != row.sha256 and not own):
                    self._incarnations += 1
                    goes_on = known.history if known and known.followed and model_id in elsewhere else None
                    self._models[model_id] = self._read(row, self._incarnations, drift.get(model_id, ()), goes_on)
                model = self._models[model_id]
                if model_id in elsewhere:
                    self._follow(model, drift.get(model_id, ()))
                elif model.followed:  # who trained it has ended, or this process is to go on
                    self._models[model_id] = self._read(row, model.incarnation, drift.get(model_id, ()))
            for model_id in self._models.keys() - rows.keys():
                del self._models[model_id]
            gate = self._records.curves.marks("gate")
            for model in self._models.values():
                model.history.mark_gate(gate.get(model.model_id, ()))

    def _read(self, row: ModelRow, incarnation: int, drift: Iterable[Mark], goes_on: History | None = None) -> Model:
        """A model as it was saved last; `goes_on`: what is known of a curve that is followed, which is long to read."""
        facts = ModelFacts.told(row.facts)
        if goes_on is None:
            points = self._records.curves.points(row.model_id, last=facts.step)
            kept = [mark for mark in drift if mark.step <= facts.step]
            goes_on = History.of(points, self._records.curves.alerts(row.model_id), kept)
        return Model.saved(row.model_id, incarnation, facts, row.sha256, goes_on)

    def _follow(self, model: Model, drift: Iterable[Mark]) -> None:
        """Take note of what another process, which trains a model, has told of it since its last saved state."""
        known = model.history.points[-1:]
        points = self._records.curves.points(model.model_id, first=known[0].step if known else 0)
        if known and points[:1] != known:  # what came after some step was undone
            points, known = self._records.curves.points(model.model_id), ()
            model.history = History()
        model.follow(points[len(known) :], self._records.curves.alerts(model.model_id), drift)

    def _publish(
        self,
        model_id: str,
        saved: Saved,
        points: Iterable[HistoryPoint],
        history: History,
        lease: Lease,
        *,
        afresh: bool,
    ) -> CheckpointInfo:
        facts = saved.facts.model_dump(mode="json")

        @contextmanager
        def recorded(info: CheckpointInfo) -> Iterator[None]:
            with self._leases.fenced(lease) as transaction:
                row = ModelRow(model_id, info.sha256, facts)
                self._records.save_model(transaction, row, points, history.alerts, history.marks, afresh=afresh)
                yield

        return self._files.publish(model_id, saved.path, step=saved.facts.step, summary=facts, overwrite=True, guard=recorded)

    def _state_of(self, model: Model) -> Path:
        return self._files.root / model.model_id / f"{model.sha256}.safetensors"

    def _reconcile(self) -> None:
        """The manifests are the truth: a stop between manifest and database, or a lost database, is made good here."""
        with self._records.transaction() as transaction:  # nobody publishes meanwhile
            rows = self._records.models(transaction)
            for info in self._files.infos():
                if info.name not in rows or rows[info.name].sha256 != info.sha256:
                    self._record_anew(transaction, info)
            for name in rows.keys() - set(self._files.names()):
                self._records.forget_model(transaction, name)

    def _record_anew(self, transaction: sqlite3.Connection, info: CheckpointInfo) -> None:
        try:
            ModelFacts.told(info.summary)
            history = _record_in(self._files.verified_path(info.name), info.name)
        except (BitLMError, ValidationError, KeyError, TypeError):
            return  # it stays where it is, and is named when it is asked for
        row = ModelRow(info.name, info.sha256, info.summary)
        self._records.save_model(transaction, row, history.points, history.alerts, history.marks, afresh=True)


def _record_in(path: Path, name: str) -> History:
    """The record in a state file; an empty one from one of another format, which is named when it is used."""
    try:
        header = read_header(path, name)
    except CheckpointVersionError:
        return History()
    return History.told(header)
