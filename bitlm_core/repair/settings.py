"""How damage is looked for and restored. No torch in here."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

MARGIN_BITS = 16.0
"""By how much a byte at an unknown place must be better than what is there: that of data of which 0.4 % are damaged."""
MOST_MARGIN = 1000.0


class RepairSettings(BaseModel):
    """How thoroughly is searched."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    adaptive: Annotated[bool, Field(description="The mixer learns the data itself, on a copy.")] = True
    width: Annotated[int, Field(ge=1, le=256, description="Alternatives kept for a stretch.")] = 32
    horizon: Annotated[int, Field(ge=0, le=1024, description="Following bytes that alternatives are judged by.")] = 48
    passes: Annotated[int, Field(ge=1, le=8, description="How often all places are gone through.")] = 2
