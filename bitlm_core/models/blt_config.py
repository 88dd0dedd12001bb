"""A byte-latent network under the names of its paper and of earlier programs; `ModelConfig` is what everything else reads."""

from __future__ import annotations

from typing import Annotated, Any, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from bitlm_core.errors import ConfigError
from bitlm_core.models.config import MAX_POSITIONS, ModelConfig, describe_invalid
from bitlm_core.models.patch_sizes import HEAD_WIDTH, PatchSizes
from bitlm_core.patching.config import MAX_PATCH, PatchingConfig

_OF_ENTROPY_NETWORKS = ("entropy_model_layers", "entropy_context_size", "initial_entropy_threshold")
_OF_PATCHING = ("entropy_threshold", "min_patch_size", "max_patch_size")


class BLTConfig(BaseModel):
    """Sizes of a byte-latent network; `to_model` says the same as a ModelConfig. Defaults are those of the preset small.

    Networks over bytes are `local_width` wide, half of `hidden_size` unless another is given, and see `window_size` bytes and
    as many before. Entropies come from counts of the training data, so that there is no network for them whose sizes could be
    given. Thresholds are in bits.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    hidden_size: Annotated[int, Field(ge=32, le=8192, description="width over patches")] = 192
    intermediate_size: Annotated[int | None, Field(ge=16, le=65536, description="feed-forward; null: 4 × hidden_size")] = None
    num_heads: Annotated[int | None, Field(ge=1, le=128, description="over patches; null: one for each 64 of the width")] = None
    local_width: Annotated[int | None, Field(ge=16, le=4096, description="width over bytes; null: half of hidden_size")] = None
    encoder_layers: Annotated[int, Field(ge=1, le=32, description="blocks from bytes to patches")] = 1
    global_layers: Annotated[int, Field(ge=1, le=128, description="blocks over patches")] = 3
    decoder_layers: Annotated[int, Field(ge=1, le=32, description="blocks from patches to bytes")] = 1
    attention_dropout: Annotated[float | None, Field(ge=0, le=0.9, description="null: follows from how often data is read")] = (
        None
    )
    resid_dropout: Annotated[float | None, Field(ge=0, le=0.9, description="the same share as attention_dropout")] = None
    ngram_vocab_size: Annotated[int, Field(ge=0, le=1 << 20, description="rows of each table of n-grams")] = 16_384
    window_size: Annotated[int, Field(ge=1, le=4096, description="bytes in a chunk of attention over bytes")] = 64
    max_position_embeddings: Annotated[int, Field(ge=16, le=MAX_POSITIONS, description="bytes in a window")] = 256
    entropy_threshold: Annotated[float | None, Field(ge=-16, le=16, description="bits; null: for 4 bytes a patch")] = None
    min_patch_size: Annotated[int, Field(ge=1, le=MAX_PATCH, description="bytes")] = 1
    max_patch_size: Annotated[int, Field(ge=1, le=MAX_PATCH, description="bytes")] = 24

    @model_validator(mode="before")
    @classmethod
    def _no_entropy_network(cls, given: Any) -> Any:
        named = [name for name in _OF_ENTROPY_NETWORKS if isinstance(given, dict) and name in given]
        if named:
            raise ValueError(
                f"{', '.join(named)}: entropies are counted in the training data, not told by a network: leave that out; "
                "entropy_threshold stays as it is for the whole training"
            )
        return given

    @model_validator(mode="after")
    def _drops_one_share(self) -> Self:
        shares = {self.attention_dropout, self.resid_dropout} - {None}
        if len(shares) > 1:
            raise ValueError(
                f"attention_dropout={self.attention_dropout}, resid_dropout={self.resid_dropout}: both sub-blocks drop one "
                "share of what they add: give one of them, or the same number twice"
            )
        return self

    def to_model(self, patching: PatchingConfig | None = None) -> ModelConfig:
        """The ModelConfig; `patching` instead of what this class knows of it. Raises ConfigError for what does not fit."""
        named = [f"{name}={getattr(self, name)}" for name in _OF_PATCHING if name in self.model_fields_set]
        if patching is not None and named:
            raise ConfigError(f"{', '.join(named)} and patching both say how patches are cut: give one of them")
        heads = self.num_heads or max(1, self.hidden_size // 64)
        dropout = self.resid_dropout if self.attention_dropout is None else self.attention_dropout
        try:
            return ModelConfig(
                architecture="patch",
                d_model=self.hidden_size,
                nhead=heads,
                num_layers=self.global_layers,
                dim_feedforward=self.intermediate_size or 4 * self.hidden_size,
                max_seq_len=self.max_position_embeddings,
                dropout=dropout,
                ngram_rows=self.ngram_vocab_size,
                patch=self._around(patching or self._cutting()),
            )
        except ValidationError as error:
            raise ConfigError(describe_invalid(error)) from None

    def _around(self, patching: PatchingConfig) -> PatchSizes:
        width = self.local_width or self.hidden_size // 2 // 4 * 4
        heads = next(count for count in range(max(1, width // HEAD_WIDTH), 0, -1) if width % (2 * count) == 0 or count == 1)
        return PatchSizes(
            local_width=width,
            local_heads=heads,
            local_chunk=self.window_size,
            encoder_layers=self.encoder_layers,
            decoder_layers=self.decoder_layers,
            patching=patching,
        )

    def _cutting(self) -> PatchingConfig:
        return PatchingConfig(**{name: getattr(self, name) for name in _OF_PATCHING})
