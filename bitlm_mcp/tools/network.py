"""What a network is, as init_model takes it. None: as the preset has it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from bitlm_mcp.schemas import RARE

Architecture = Annotated[
    Literal["byte", "bit", "patch", "mix"], Field(description="A position a byte, bit, patch; mix: no network.")
]
Preset = Annotated[Literal["tiny", "small", "base"], Field(description="Sizes to begin with.")]
DEFAULT_PRESET: Literal["small"] = "small"
"""Also of `mix`, which has no sizes: there it means that none was asked for."""
Width = Annotated[int | None, Field(ge=16, le=8192, description="Width of the network.")]
Heads = Annotated[int | None, Field(ge=1, le=128, description="Attention heads, best d_model / 64.")]
Layers = Annotated[int | None, Field(ge=1, le=128, description="How many residual blocks.")]
FeedForward = Annotated[int | None, Field(ge=16, le=65536, description="Inner width of feed-forward.")]
Window = Annotated[int | None, Field(ge=16, le=131_072, description="Positions in a window: bytes, or bits.")]
Dropout = Annotated[float | None, Field(ge=0, le=0.9, description="Share of activations dropped.")]
Attention = Annotated[
    Literal["full", "chunked", "differential"] | None,
    Field(description="chunked: cost linear in length."),
]
ChunkSize = Annotated[int | None, Field(ge=1, le=131_072, description="Positions a chunk.")]
Overlap = Annotated[int | None, Field(ge=0, le=131_072, description="Positions seen before the chunk.")]
Reversible = Annotated[bool | None, Field(description="Memory flat in depth, half more time.")]
UseCheckpoint = Annotated[bool | None, Field(description="Less memory, some more time.", json_schema_extra=RARE)]
UseAct = Annotated[bool | None, Field(description="Easy positions skip layers.")]
ActThreshold = Annotated[float | None, Field(gt=0, lt=1, description="Sum of chances to stop.", json_schema_extra=RARE)]
NgramRows = Annotated[int | None, Field(ge=0, le=1_048_576, description="Rows per n-gram table.")]
Diffusion = Annotated[Literal["shared", "own"] | None, Field(description="Who fills gaps: this network, or its own.")]
Position = Annotated[
    Literal["rotary", "sinusoidal"] | None, Field(description="How positions are encoded.", json_schema_extra=RARE)
]
Patching = Annotated[Literal["entropy", "space", "fixed"] | None, Field(description="Where a patch ends.")]
MeanPatchSize = Annotated[float | None, Field(ge=1, le=1024, description="Bytes per patch: 4.")]
EntropyThreshold = Annotated[float | None, Field(ge=-16, le=16, description="Bits; else by mean size.", json_schema_extra=RARE)]
Stride = Annotated[int | None, Field(ge=1, le=1024, description="Of fixed ones.", json_schema_extra=RARE)]
MaxPatchSize = Annotated[int | None, Field(ge=1, le=1024, description="Bytes: 24.", json_schema_extra=RARE)]
Monotonic = Annotated[bool | None, Field(description="Entropy must rise.", json_schema_extra=RARE)]
ResetContext = Annotated[bool | None, Field(description="At newlines.", json_schema_extra=RARE)]
EncoderLayers = Annotated[int | None, Field(ge=1, le=32, description="Over bytes, before.", json_schema_extra=RARE)]
GlobalLayers = Annotated[int | None, Field(ge=1, le=128, description="Over patches.", json_schema_extra=RARE)]
DecoderLayers = Annotated[int | None, Field(ge=1, le=32, description="Over bytes, after.", json_schema_extra=RARE)]
NgramVocab = Annotated[int | None, Field(ge=0, le=1_048_576, description="ngram_rows.", json_schema_extra=RARE)]
ContextMixing = Annotated[bool, Field(description="Mix in context statistics: learns in seconds.")]
MixingMemory = Annotated[int | None, Field(ge=8, le=1024, description="Memory of that; default 128.")]
