"""What commands and answers speak of: plain JSON values, so that the server and the compute side may be processes apart.

Large things travel as files: data to learn or score, the states of models, long outputs.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from bitlm_core import MARGIN_BITS, ByteData, ConfigError, EngineConfig, TrainingPlan, file_part
from bitlm_mcp.history import History
from bitlm_mcp.snapshot import HistoryPoint, Mark


class Message(BaseModel):
    """Base of all that crosses: frozen, nothing unknown, bytes as base64."""

    model_config = ConfigDict(frozen=True, extra="forbid", ser_json_bytes="base64", val_json_bytes="base64")


class Asked(Message):
    """Base of all commands. `trace`: the trace context of whoever asked."""

    trace: dict[str, str] = Field(default_factory=dict)


class DataPart(Message):
    """Bytes [start, end) of a file; the rest as `ByteData` has it."""

    path: Path
    start: int
    end: int
    digest: str
    counts: tuple[int, ...] | None = None
    document_starts: tuple[int, ...] = ()

    @property
    def num_bytes(self) -> int:
        """How many bytes there are."""
        return self.end - self.start

    def open(self) -> ByteData:
        """The bytes, mapped. Raises ConfigError when the file has gone."""
        counts = None if self.counts is None else np.array(self.counts, np.int64)
        try:
            data = file_part(self.path, self.start, self.end, self.digest, counts)
        except (OSError, ValueError) as error:
            raise ConfigError(f"the data was replaced or removed meanwhile ({type(error).__name__}): call again") from error
        return replace(data, document_starts=np.array(self.document_starts, np.int64))


class DamagedPlaces(Message):
    """Where data is damaged: ranges of offset and length; or what fails parity; or the most surprising bytes, so many.

    margin_bits: by how much a byte at a surprising place must be better than what is there.
    """

    ranges: tuple[tuple[int, ...], ...] = ()
    parity: bool = False
    surprising: int | None = None
    margin_bits: float = MARGIN_BITS


class ModelRef(Message):
    """A model as the asker knows it: what is in memory under this incarnation, else what the state file holds.

    sha256: of the state file; None when the asker has just checked it.
    """

    model_id: str
    incarnation: int
    state: Path
    sha256: str | None = None


class ModelFacts(Message):
    """What one state of a model is, without its tensors. `trained_by`: the job whose training this state belongs to."""

    config: EngineConfig
    step: int
    diffusion_steps: int
    plan: TrainingPlan | None
    trained_by: str | None

    @classmethod
    def told(cls, facts: Mapping[str, Any]) -> ModelFacts:
        """Facts as any version of this program has recorded them; what this one does not know is left out."""
        return cls.model_validate(facts, extra="ignore")


class Saved(Message):
    """A state on the disk, under a name that nobody knows yet."""

    path: Path
    facts: ModelFacts


class Recorded(Message):
    """Base of answers that bring a model with its record."""

    history: tuple[HistoryPoint, ...]
    alerts: tuple[str, ...]
    marks: tuple[Mark, ...]

    @property
    def record(self) -> History:
        """The record, for whoever installs the model."""
        return History.of(self.history, self.alerts, self.marks)


def record_of(history: History) -> dict[str, Any]:
    """The fields of `Recorded`."""
    return {"history": history.points, "alerts": history.alerts, "marks": history.marks}


class CodedOutput(Message):
    """An answer's bytes as a codec made them; see `bitlm_core.Coded`."""

    codec: str
    data: bytes
    num_bytes: int
    ratio: float
    seconds: float
    warning: str


class MadeBytes(Message):
    """Base of answers with bytes that were made; `coded`: the same bytes, where that was asked for."""

    coded: CodedOutput | None = None
