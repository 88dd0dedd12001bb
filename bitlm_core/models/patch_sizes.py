"""What a byte-latent network has beside its transformer over patches, in one frozen class. No torch."""

from __future__ import annotations

from typing import Annotated, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from bitlm_core.patching.config import PatchingConfig

ORDERS = (2, 3, 4, 5, 6)
"""The paper has 3 … 8. After 40 CPU-s on text these knew 0.05 bits per byte more, see `examples/RECORDS.md`."""
MAX_ORDER = 8
HEAD_WIDTH = 48
"""Of the small networks over bytes, about."""


class PatchSizes(BaseModel):
    """The parts of a byte-latent network that read bytes, and how bytes become patches.

    An encoder of `encoder_layers` and a decoder of `decoder_layers` blocks, `local_width` wide, stand around the transformer
    over patches, of which `d_model`, `num_layers` and the rest of ModelConfig tell.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    local_width: Annotated[int, Field(ge=16, le=4096, description="width of the streams over bytes")] = 96
    local_heads: Annotated[int, Field(ge=1, le=64, description="their attention heads; must divide local_width")] = 2
    local_chunk: Annotated[int, Field(ge=1, le=4096, description="bytes in a chunk of their attention")] = 64
    encoder_layers: Annotated[int, Field(ge=1, le=32, description="blocks from bytes to patches")] = 1
    decoder_layers: Annotated[int, Field(ge=1, le=32, description="blocks from patches to bytes")] = 1
    slots: Annotated[int, Field(ge=1, le=16, description="vectors of a patch that its followers attend to")] = 2
    ngram_orders: Annotated[
        tuple[Annotated[int, Field(ge=2, le=MAX_ORDER)], ...], Field(min_length=1, max_length=7, description="n of n-grams")
    ] = ORDERS
    memory_span: Annotated[
        int | None, Field(ge=1, le=1024, description="patches summed up together in gated memory; null: no such memory")
    ] = None
    patching: PatchingConfig = PatchingConfig()

    @model_validator(mode="after")
    def _fits(self) -> Self:
        if self.local_width % (2 * self.local_heads):
            raise ValueError(
                f"local_width={self.local_width} cannot be split into local_heads={self.local_heads} heads of even width: "
                f"choose a multiple of {2 * self.local_heads}"
            )
        if list(self.ngram_orders) != sorted(set(self.ngram_orders)):
            raise ValueError(f"ngram_orders={self.ngram_orders} must rise, each once: {ORDERS}, say")
        return self
