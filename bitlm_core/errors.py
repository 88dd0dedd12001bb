"""Every error that bitlm raises on purpose.

    BitLMError                  what happened, the value, the limit, what to do next
    ├── ConfigError             a setting or an argument outside its range
    ├── CodecError              bytes or bits that are not what they claim to be
    │   ├── ParityError         parity groups that do not add up (`groups` holds their indices)
    │   ├── RunLengthError      a run-length stream that no encoder wrote (`offset` says where)
    │   └── ContainerError      compressed data that cannot be decoded (`reason` says why)
    ├── SequenceTooLongError    more positions than the model can hold (`length`, `limit`)
    ├── SafetyGateError         strict safety refused an output (`verdict`)
    ├── ModelStateError         the call does not fit the state the model is in
    ├── ResourceLimitError      an estimate above a limit, found before allocation (`estimate`, `limit`)
    ├── CheckpointError         a checkpoint that cannot be written or read
    │   ├── CheckpointNotFoundError
    │   ├── CheckpointCorruptError
    │   └── CheckpointVersionError
    └── HubError                a hub of models that cannot be reached, or refuses (`repo`)
        ├── HubConflictError    somebody else has pushed meanwhile (`expected`, `found`)
        └── HubRepositoryError  a repository that holds no sound checkpoint of this program

The text of an error is meant for the person or agent who caused it: it ends with what to do next.
The numbers in it are attributes too, so that callers (and tests) need not parse text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


class BitLMError(Exception):
    """Base of all errors raised on purpose; keyword arguments become attributes."""

    def __init__(self, message: str, **facts: Any) -> None:
        super().__init__(message)
        self.message = message
        self.facts = facts
        for name, value in facts.items():
            setattr(self, name, value)


class ConfigError(BitLMError):
    """A setting or an argument outside its range."""


class CodecError(BitLMError):
    """Bytes or bits that are not what they claim to be."""


class ParityError(CodecError):
    """Parity groups that do not add up; `groups` holds their indices."""

    groups: Sequence[int]


class RunLengthError(CodecError):
    """A run-length stream that no encoder wrote; `offset`, in bytes, is where it first cannot be right."""

    offset: int


class ContainerError(CodecError):
    """Compressed data that cannot be decoded; `reason` is one of damaged, version, model, machine."""

    reason: str


class SequenceTooLongError(BitLMError):
    """More positions than the model can hold; `length` and `limit` are in positions."""

    length: int
    limit: int


class SafetyGateError(BitLMError):
    """Strict safety refused an output; `verdict` holds the values and the floors.

    `attempts` and `gate`: of `safe_sample`, every attempt, and how the session stands.
    """

    verdict: Any
    attempts: Sequence[Any] = ()
    gate: Any = None


class ModelStateError(BitLMError):
    """The call does not fit the state the model is in."""


class ResourceLimitError(BitLMError):
    """An estimate above a limit, found before anything was allocated; `estimate` and `limit` share one unit."""

    estimate: float
    limit: float


class CheckpointError(BitLMError):
    """A checkpoint that cannot be written or read; `name` holds which."""

    name: str


class CheckpointNotFoundError(CheckpointError):
    """No checkpoint of that name."""


class CheckpointCorruptError(CheckpointError):
    """A checkpoint whose bytes are not those that were saved."""


class CheckpointVersionError(CheckpointError):
    """A checkpoint written by a newer format than this program reads."""


class HubError(BitLMError):
    """A hub of models that cannot be reached, or refuses; `repo`, where it was asked for one."""

    repo: str


class HubConflictError(HubError):
    """The repository is at another commit than the one that a push was to follow: `found` and `expected`."""

    expected: str
    found: str


class HubRepositoryError(HubError):
    """A repository that holds no sound checkpoint of this program."""
