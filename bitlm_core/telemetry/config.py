"""How a model is watched: what is measured how often, what counts as drift, and how one score is weighed. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.errors import ConfigError
from bitlm_core.telemetry.drift import THRESHOLD, WINDOW, DriftDetector, DriftState

Profile = Literal["standard", "legacy"]
Lambda = Annotated[float, Field(ge=0, le=1e6)]


class TelemetryConfig(BaseModel):
    """Settings of telemetry. Raises ConfigError when all λ are 0.

    profile: legacy watches the transition rate where C stands otherwise, as an earlier system did under that name: 0101… counts
    as most complex then; the safety gate holds it against the floor of C.

    What is measured is never scaled by λ; only the composite score is.

    composite_loss: C takes no part in the term, for it has no gradient; nor has S, of bit models (see `training.composite`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    lambda_k: Annotated[Lambda, Field(description="weight of K in the composite score")] = 1.0
    lambda_c: Annotated[Lambda, Field(description="weight of C")] = 1.0
    lambda_s: Annotated[Lambda, Field(description="weight of S")] = 1.0
    telemetry_every: Annotated[int, Field(ge=1, le=100_000, description="steps between K, C, S measurements")] = 10
    attention_every: Annotated[int, Field(ge=0, le=100_000, description="steps between looks at attention; 0: none")] = 50
    drift_window: Annotated[int, Field(ge=1, le=1000, description="measurements in each of the two windows compared")] = WINDOW
    drift_threshold: Annotated[float, Field(ge=0, le=1, description="a larger difference of their means is drift")] = THRESHOLD
    halt_on_drift: Annotated[bool, Field(description="drift ends a training, which is saved first")] = False
    profile: Profile = "standard"
    composite_loss: Annotated[
        float, Field(ge=0, le=100, description="networks also minimise this many nats times 1 − the score of K and S; 0: off")
    ] = 0.0

    @model_validator(mode="after")
    def _weighs_something(self) -> Self:
        if not any(self.lambdas):
            raise ConfigError(
                "lambda_k, lambda_c and lambda_s are all 0, and nothing is weighed: set one above 0",
                lambdas=self.lambdas,
            )
        if self.composite_loss and not (self.lambda_k or self.lambda_s):
            raise ConfigError(
                f"composite_loss={self.composite_loss:g} is of K and S alone, and lambda_k and lambda_s are both 0: set one "
                "above 0, or composite_loss to 0",
                composite_loss=self.composite_loss,
            )
        return self

    @property
    def lambdas(self) -> tuple[float, float, float]:
        """For K, C and S."""
        return self.lambda_k, self.lambda_c, self.lambda_s

    def drift_detector(self, state: DriftState | None = None) -> DriftDetector:
        """A detector of these settings, which goes on where `state` was taken; errors as `DriftDetector.restore`."""
        detector = DriftDetector(self.drift_window, self.drift_threshold)
        if state is not None:
            detector.restore(state)
        return detector
