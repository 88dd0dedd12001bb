"""What the leader tells the others, one order after the other: JSON, so that nobody runs what another process has sent.

A step's order tells where each row begins in the data, which every process has at hand, and nothing of the rows themselves.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import torch
import torch.distributed as dist
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter

from bitlm_core.diffusion.schedule import Masking
from bitlm_core.training.composite import Composite
from bitlm_core.training.config import Objective, TrainingConfig


class _Order(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Term(_Order):
    """A `Composite`, in plain numbers."""

    weight: float
    lambda_k: float
    lambda_s: float
    reference: list[float]

    @classmethod
    def of(cls, composite: Composite | None) -> Term | None:
        """None of none."""
        return composite and cls(**composite._asdict() | {"reference": composite.reference.tolist()})

    def composite(self) -> Composite:
        """The term again; fp32 goes through JSON as it is."""
        return Composite(self.weight, self.lambda_k, self.lambda_s, torch.tensor(self.reference))


class Step(_Order):
    """One optimizer step on the rows of `length` bytes that begin at `starts`; the rest as `Trainer.step` takes it."""

    order: Literal["step"] = "step"
    step: int
    starts: list[int]
    length: int
    objective: Objective
    progress: float
    passes: float
    mask_unit: Literal["byte", "bit"]
    least_hidden: float
    term: Term | None

    @property
    def told(self) -> dict[str, Any]:
        """For `Trainer.step`, beside the batch."""
        return {
            "step": self.step,
            "objective": self.objective,
            "progress": self.progress,
            "passes": self.passes,
            "masking": Masking(self.mask_unit, self.least_hidden),
            "composite": self.term and self.term.composite(),
        }


class Configure(_Order):
    """Other settings from the next step on."""

    order: Literal["configure"] = "configure"
    training: TrainingConfig


class Settle(_Order):
    """The leader wants to know what all have learned; with `moments`, those of the optimizers too."""

    order: Literal["settle"] = "settle"
    moments: bool


class Save(_Order):
    """Everyone writes its share of a checkpoint to a folder."""

    order: Literal["save"] = "save"
    folder: str


class Stop(_Order):
    """The training is over."""

    order: Literal["stop"] = "stop"


Order = Annotated[Step | Configure | Settle | Save | Stop, Field(discriminator="order")]
_ORDERS: TypeAdapter[Order] = TypeAdapter(Order)


def send(order: Order) -> None:
    """The leader's call; every other process meets it in `receive`."""
    text = torch.frombuffer(bytearray(order.model_dump_json().encode()), dtype=torch.uint8)
    dist.broadcast(torch.tensor([len(text)]), src=0)
    dist.broadcast(text, src=0)


def receive() -> Order:
    """The next order, waited for."""
    length = torch.zeros(1, dtype=torch.int64)
    dist.broadcast(length, src=0)
    text = torch.zeros(int(length), dtype=torch.uint8)
    dist.broadcast(text, src=0)
    return _ORDERS.validate_json(text.numpy().tobytes())
