"""The tensors of an engine by name, as a checkpoint holds them, and the way back.

model.…, optimizer.…     the network (a quantised one: see `checkpoint.network`) and its optimizers, as they are
mixer.…                  the context mixer's arrays, packed: their shapes and dtypes follow from the configuration
carried.…                what a training that carries keys and values has read
reference                the training data's byte counts
standard                 the byte pairs that calibrated floors were found with, packed; only where there are some
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from bitlm_core.checkpoint.network import network_layout, network_tensors, restore_network
from bitlm_core.checkpoint.packing import packed, unpacked
from bitlm_core.checkpoint.state_check import MAX_COUNT, Layout, check_tensors
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.interface import LanguageModel
from bitlm_core.safety.floors import Floors
from bitlm_core.safety.standard import Pairs
from bitlm_core.training.segments import segment_layout
from bitlm_core.training.trainer import Trainer

Tensors = dict[str, Tensor]


def tensors_of(
    model: LanguageModel | None, trainer: Trainer | None, mixer: ContextMixer | None, carried: Mapping[str, Tensor]
) -> Tensors:
    """All but what outputs are compared with; the network's are not copied, unless they are packed.

    Raises ModelStateError for a quantised network whose weights were changed.
    """
    tensors = {f"optimizer.{name}": value for name, value in trainer.state().items()} if trainer else {}
    if model:  # after its trainer was asked: then it knows what was learned
        tensors |= {f"model.{name}": value for name, value in network_tensors(model).items()}
    if mixer:
        tensors |= {f"mixer.{name}": torch.from_numpy(packed(value)) for name, value in mixer.own_arrays.items()}
    return tensors | {f"carried.{name}": value for name, value in carried.items()}


def restore_tensors(
    tensors: Mapping[str, Tensor],
    told: Mapping[str, Any] | None,
    model: LanguageModel | None,
    trainer: Trainer | None,
    mixer: ContextMixer | None,
) -> Tensors:
    """Put everything back but what outputs are compared with, which is checked.

    `told`: what the header says of what was carried, which is returned. Raises ValueError, TypeError, KeyError or
    ModelStateError for tensors that do not fit exactly, before anything is unpacked into more memory than it should take.
    """
    kept, moments, carried = (_under(part, tensors) for part in ("mixer.", "optimizer.", "carried."))
    layout = {f"carried.{name}": like for name, like in _carried_layout(model, trainer, carried, told).items()}
    layout |= {"reference": ((256,), torch.float64)}
    layout |= {"standard": ((tensors["standard"].numel(),), torch.uint8)} if "standard" in tensors else {}
    if model and trainer:
        layout |= {f"model.{name}": like for name, like in network_layout(model, _under("model.", tensors)).items()}
        layout |= {f"optimizer.{name}": like for name, like in trainer.layout().items()} if moments else {}
    like = mixer.own_arrays if mixer else {}
    if kept.keys() != like.keys():
        other = sorted(kept.keys() ^ like.keys())
        raise ValueError(f"arrays of the context mixer lacking or too many: {other[:4]}; another version of bitlm wrote them")
    layout |= {f"mixer.{name}": ((stream.numel(),), torch.uint8) for name, stream in kept.items()}
    check_tensors(tensors, layout)
    if model and trainer:
        restore_network(model, _under("model.", tensors))
        trainer.restore(moments)
    if mixer:
        mixer.load_state_arrays({name: unpacked(kept[name].numpy(), like[name]) for name in like})
    return carried


def compared_with(reference: NDArray[np.float64], standard: Pairs | None) -> Tensors:
    """What outputs are compared with."""
    tensors = {"reference": torch.from_numpy(reference)}
    return tensors if standard is None else tensors | {"standard": torch.from_numpy(packed(standard))}


def restore_compared(tensors: Mapping[str, Tensor], floors: Floors) -> tuple[NDArray[np.float64], Pairs | None]:
    """What outputs are compared with, again. Raises ValueError where it does not fit the floors."""
    standard: Pairs | None = None
    if "standard" in tensors:
        standard = unpacked(tensors["standard"].numpy(), np.empty((256, 256), np.int64))
        if standard.min() < 0 or not 0 < standard.max() < MAX_COUNT:
            raise ValueError("standard holds what are no counts of byte pairs")
    if (standard is None) == bool(floors.calibrated):
        raise ValueError("calibrated floors, and the byte pairs that they were found with, come together or not at all")
    return tensors["reference"].numpy(), standard


def _carried_layout(
    model: LanguageModel | None, trainer: Trainer | None, carried: Tensors, told: Mapping[str, Any] | None
) -> dict[str, Layout]:
    if not told:
        return {}
    if model is None or trainer is None:
        raise ValueError("something was carried, and there is no network that could")
    return segment_layout(model, trainer.dtype, carried, told)


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> Tensors:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
