"""What a teacher believes, and which windows of the data stand for all of them.

A network is asked for every window that its student learns, in the dtype of training: kept beliefs would take 510 numbers a
byte, and a student's windows begin anywhere. That of a teacher with context mixing too, whose statistics would know the data
by heart. Context mixing alone (`mix`) teaches by what a fresh mixer of its settings predicts as it reads the data once, each
byte before it is learned: eight numbers a byte, kept.

Nothing here changes a teacher.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Generator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.engine import Engine
from bitlm_core.errors import ModelStateError
from bitlm_core.layers.halting import Trace
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.config import MIX_BYTES
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_nats
from bitlm_core.reading import reserved_from
from bitlm_core.telemetry.synthesizer import cluster, sequence_features
from bitlm_core.training.batches import Batch, windows_at
from bitlm_core.training.data import ByteData
from bitlm_core.training.teaching import Beliefs
from bitlm_core.training.trainer import Trainer


class Teacher(ABC):
    """reads_anything: whether it can be asked of other data than what it was opened with."""

    reads_anything = True

    @abstractmethod
    def ask(self, batch: Batch) -> Beliefs:
        """What it believes of each byte of a batch, given those before; without gradients."""

    @abstractmethod
    def features(self, batch: Batch) -> NDArray[np.float64]:
        """[B, F] how it computes on each window, or what it believes of it: what windows are grouped by."""


class _Network(Teacher):
    def __init__(self, model: LanguageModel, trainer: Trainer) -> None:
        self._model, self._trainer = model, trainer

    @torch.no_grad()
    def ask(self, batch: Batch) -> Beliefs:
        trace = Trace(graph_bytes=batch.num_bytes)
        with self._trainer.training_dtype():
            logits = self._model.path_logits(batch.data, documents=batch.documents, trace=trace)
        return Beliefs(logits, trace.graph_nodes)

    def features(self, batch: Batch) -> NDArray[np.float64]:
        return sequence_features(self._model, [bytes(row.tolist()) for row in batch.data])


class _Mixing(Teacher):
    """logits [N, 8] of all bytes of the data, which begins at `offset`."""

    reads_anything = False

    def __init__(self, logits: Tensor, offset: int) -> None:
        self._logits, self._offset = logits, offset

    def ask(self, batch: Batch) -> Beliefs:
        if batch.starts is None:
            raise AssertionError("windows cut from the data know where they begin")
        places = batch.starts[:, None] - self._offset + torch.arange(batch.data.shape[1])
        return Beliefs(self._logits[places].float().to(batch.data.device), None)

    def features(self, batch: Batch) -> NDArray[np.float64]:
        """Mean and variance of what a byte costs, and of how sure its bits are."""
        logits = self.ask(batch).path_logits
        costs, sure = path_nats(logits, batch.data), logits.abs().mean(dim=2)
        return torch.stack([costs.mean(1), costs.var(1), sure.mean(1), sure.var(1)], dim=1).double().numpy()


def opened(engine: Engine, data: ByteData) -> Generator[float, None, Teacher]:
    """The teacher in an engine, yielding the share done. Raises ModelStateError for one that has learned nothing."""
    if not engine.step:
        raise ModelStateError("the teacher has learned nothing (step 0), so there is nothing to be kept: train it first")
    if engine.model is not None and engine.trainer is not None:
        return _Network(engine.model, engine.trainer)
    if engine.config.mixing is None:
        raise AssertionError("a config without a network has context mixing")
    mixer, kept = ContextMixer(engine.config.mixing), np.empty((len(data), 8), np.float16)
    if engine.mixer is not None:
        mixer.set_profile(engine.mixer.profile)
    for begin, end in data.documents():
        mixer.start_document()
        for at in range(begin, end, MIX_BYTES):
            part = np.asarray(data.array[at : min(at + MIX_BYTES, end)])
            kept[at : at + len(part)] = mixer.read(part)
            yield (at + len(part)) / len(data)
    return _Mixing(torch.from_numpy(kept), data.offset)


def representatives(
    teacher: Teacher, data: ByteData, *, length: int, looked_at: int, num_clusters: int, seed: int
) -> Generator[float, None, Batch]:
    """The medoids of the groups that evenly spread windows of the data fall into, the largest group's first.

    Of what a context mixer would keep for its trust in a network, nothing is looked at.
    """
    length = min(length, len(data))
    usable = max(length, reserved_from(len(data)))
    count = max(1, min(looked_at, usable // length))
    starts = np.linspace(0, usable - length, count).astype(np.int64)
    rows = []
    for at in range(count):
        rows.append(teacher.features(windows_at(data, starts[at : at + 1], length)))
        yield (at + 1) / count
    found = cluster(np.concatenate(rows), num_clusters, seed=seed)
    order = np.argsort(-found.sizes, kind="stable")
    return windows_at(data, starts[found.medoids[order]], length)
