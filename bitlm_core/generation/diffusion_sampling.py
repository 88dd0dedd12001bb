"""How a template is filled by diffusion. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.diffusion.schedule import Schedule
from bitlm_core.generation.sampling import Constraint

Order = Literal["spread", "annealed", "confidence", "random"]
Method = Literal["mask", "flip"]
DEFAULT_ORDER: Order = "spread"
DEFAULT_REMASK = 0.0
DEFAULT_TEMPERATURE = 0.85
"""By the three figures of `bench.diffusion_samples`, 16 steps, 180 CPU-s of tinyshakespeare for model and judge, at 0.85:

spread 3.52 bits per byte, entropy 4.63, 0.62 distinct; annealed 3.59, 4.43, 0.59; confidence 3.41, 4.02, 0.34; random 4.37,
4.68, 0.73; held-out text 2.11, 4.86, 0.59. Remasking lowers all three, as a lower temperature does, but the last two more.
"""


class DiffusionSampling(BaseModel):
    """How bytes are drawn and revealed.

    method `mask`: in each step all hidden bytes are drawn, and some of them revealed. `flip`: bits at random to begin with, of
    which in each step a share is drawn anew from what the network makes of all of them; a network that has learned to fill gaps
    has never seen such input, so this is the worse of the two by far. It knows no order, no remasking and no constraint.
    order: which of the drawn bytes are revealed. `spread`: every N-th of those to be filled, then their right neighbours, for
    bytes drawn side by side do not know of each other and should be far apart; `confidence`: the likeliest, which tends to
    repeat itself; `annealed`: the likeliest after noise on their log-probabilities that fades from step to step; `random`.
    Without an order, `confidence` at temperature 0, which asks for what most likely stood there, and else `spread`. In that
    order at that temperature, and with a step for every byte, several beginnings are tried, see `likeliest`.
    remask: of the bytes revealed, the share whose probabilities were lowest is hidden again before each step, to be drawn with
    more known around it; it fades from step to step.
    parity `compute`: the ninth bit follows from the eight others, and it is counted how often the network would have set it
    otherwise. `read`: as the network sets it, so that groups may not add up.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: Annotated[int, Field(ge=1, le=64, description="passes of the network per window, at most one per byte")] = 16
    schedule: Annotated[Schedule, Field(description="how fast bytes become visible")] = "linear"
    method: Annotated[Method, Field(description="mask, or flip: the old way, worse")] = "mask"
    order: Annotated[Order | None, Field(description="which bytes are revealed first; null: by temperature")] = None
    remask: Annotated[float | None, Field(ge=0, lt=1, description="share of revealed bytes hidden again")] = None
    temperature: Annotated[float, Field(ge=0, le=10, description="0: the likeliest; 1: as believed")] = DEFAULT_TEMPERATURE
    constraint: Annotated[Constraint, Field(description="utf8: template, prefix and suffix are valid UTF-8 together")] = "none"
    parity: Annotated[Literal["compute", "read"], Field(description="the ninth bits of the result")] = "compute"
    seed: Annotated[int, Field(ge=0, lt=2**63, description="same seed, same bytes")] = 0

    @property
    def order_used(self) -> Order:
        """The order of method mask."""
        return self.order or (DEFAULT_ORDER if self.temperature else "confidence")

    @property
    def is_search(self) -> bool:
        """Whether what most likely stood there is asked for, and nothing else of it."""
        sharp = self.method == "mask" and self.temperature == 0 and self.order_used == "confidence"
        return sharp and not self.remask and self.constraint == "none"

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.method == "flip":
            if self.order is not None or self.remask is not None:
                raise ValueError("method='flip' reveals nothing, so it has neither order nor remask: leave them out")
            if self.constraint != "none":
                raise ValueError(f"constraint={self.constraint!r} cannot be kept by method='flip': use method='mask'")
        return self
