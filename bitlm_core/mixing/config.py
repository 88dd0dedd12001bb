"""Settings of the context mixer."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class MixingConfig(BaseModel):
    """How much a context mixer may hold. Everything else about it is fixed, so that predictions are reproducible."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    memory_mib: int = Field(default=128, ge=8, le=1024, description="Memory of all tables together, in MiB.")
    history_bytes: int = Field(
        default=1 << 22,
        ge=1 << 12,
        le=1 << 28,
        description="Learned bytes kept for matches, in a ring; at most 1/8 of memory_mib is used for it.",
    )
