"""Whether a saved state fits an engine exactly. Kernels and fused optimizers trust shapes: a wrong one crashes the process."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

MAX_COUNT = 1 << 40  # of steps, or of bytes of one data set

Layout = tuple[tuple[int, ...], torch.dtype]


def layout_of(tensor: Tensor) -> Layout:
    """Shape and dtype."""
    return tuple(tensor.shape), tensor.dtype


def check_tensors(tensors: Mapping[str, Tensor], expected: Mapping[str, Layout]) -> None:
    """Raise ValueError unless names, shapes and dtypes are those expected and every value can be one of training."""
    if tensors.keys() != expected.keys():
        raise ValueError(f"tensors lacking or too many: {sorted(tensors.keys() ^ expected.keys())[:4]}")
    for name, layout in expected.items():
        tensor = tensors[name]
        if layout_of(tensor) != layout:
            raise ValueError(f"{name} is {layout_of(tensor)}, not {layout}")
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            raise ValueError(f"{name} holds values that are not finite")
        if name.endswith(("reference", "/exp_avg_sq", "/step", "/sum")) and (tensor < 0).any():
            raise ValueError(f"{name} holds negative values")


def checked_count(value: object) -> int:
    """A number of steps or bytes; raises ValueError for anything else."""
    if type(value) is not int or not 0 <= value < MAX_COUNT:
        raise ValueError(f"{value!r:.40} is no count of 0 to 2^40")
    return value


def checked_counts(value: object) -> dict[str, int]:
    """Counts by name; raises ValueError for anything else."""
    if not isinstance(value, dict) or not all(isinstance(name, str) for name in value):
        raise ValueError(f"{type(value).__name__} is no mapping of names to counts")
    return {name: checked_count(count) for name, count in value.items()}
