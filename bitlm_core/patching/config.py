"""How bytes are cut into patches: one frozen class. No torch in here."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, model_validator

Scheme = Literal["entropy", "space", "fixed"]
MAX_PATCH = 1024
_MEAN = 4.0


class PatchingConfig(BaseModel):
    """Settings of patching. Each option belongs to certain schemes and is refused with the others.

    entropy   a patch starts after a byte whose successor is hard to predict: H > θ, or with `monotonic` H − (H before) > θ
    space     a patch ends with the first byte after a word that is no letter, digit or part of a character beyond ASCII
    fixed     all patches have `stride` bytes
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    scheme: Annotated[Scheme, Field(description="what ends a patch")] = "entropy"
    entropy_threshold: Annotated[
        float | None, Field(ge=-16, le=16, description="θ in bits; null: chosen for mean_patch_size when the model is fitted")
    ] = None
    mean_patch_size: Annotated[float, Field(ge=1, le=MAX_PATCH, description="bytes per patch that θ is chosen for")] = _MEAN
    stride: Annotated[int | None, Field(ge=1, le=MAX_PATCH, description="bytes per patch with scheme='fixed'")] = None
    monotonic: Annotated[
        bool,
        Field(description="compare how much the entropy rose", validation_alias=AliasChoices("monotonic", "use_monotonic")),
    ] = False
    adaptive: Annotated[bool, Field(description="θ follows the data, so that mean_patch_size is kept on any data")] = False
    min_patch_size: Annotated[int, Field(ge=1, le=MAX_PATCH, description="no patch but the last one is shorter")] = 1
    max_patch_size: Annotated[int, Field(ge=1, le=MAX_PATCH, description="a longer patch is cut")] = 24
    reset_context: Annotated[bool, Field(description="entropies look back to the beginning of the line only")] = False

    @model_validator(mode="after")
    def _fits(self) -> Self:
        low, high = self.min_patch_size, self.max_patch_size
        if low > high:
            raise ValueError(f"min_patch_size={low} is above max_patch_size={high}: give a range that holds some size")
        for name, wanted, schemes in self._options():
            if wanted and self.scheme not in schemes:
                raise ValueError(f"{name} means nothing with scheme={self.scheme!r}: leave it out, or use {schemes[0]!r}")
        if self.scheme == "fixed" and self.stride is None:
            raise ValueError("scheme='fixed' cuts at a fixed stride, and none is given: give stride, in bytes")
        if self.stride is not None and not low <= self.stride <= high:
            raise ValueError(f"stride={self.stride} is not within min_patch_size={low} … max_patch_size={high}")
        free = self.entropy_threshold is None or self.adaptive
        if self.scheme == "entropy" and free and not low <= self.mean_patch_size <= high:
            raise ValueError(
                f"mean_patch_size={self.mean_patch_size:g} is not within min_patch_size={low} … max_patch_size={high}, so no "
                "threshold gives it: widen that range"
            )
        if self.scheme == "entropy" and not free and self.mean_patch_size != _MEAN:
            raise ValueError(
                f"entropy_threshold={self.entropy_threshold:g} is given, so none is chosen for "
                f"mean_patch_size={self.mean_patch_size:g}: leave one of them out, or set adaptive=true"
            )
        return self

    def _options(self) -> list[tuple[str, bool, tuple[Scheme, ...]]]:
        """(how it was set, whether it was set, the schemes it belongs to)."""
        return [
            (f"entropy_threshold={self.entropy_threshold}", self.entropy_threshold is not None, ("entropy",)),
            (f"mean_patch_size={self.mean_patch_size:g}", self.mean_patch_size != _MEAN, ("entropy",)),
            (f"stride={self.stride}", self.stride is not None, ("fixed",)),
            ("monotonic=true", self.monotonic, ("entropy",)),
            ("adaptive=true", self.adaptive, ("entropy",)),
            ("reset_context=true", self.reset_context, ("entropy",)),
        ]

    @property
    def reads_entropies(self) -> bool:
        """Whether an entropy model is needed; θ belongs to it."""
        return self.scheme == "entropy"
