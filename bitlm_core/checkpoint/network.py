"""A network's tensors in a checkpoint: its parameters and buffers by their names; what is quantised, as its packed codes.

NAME/scales, NAME/codes, NAME/multiples stand for a quantised parameter NAME, see `models.grid`; NAME/packed for a large
table of a quantised network that is no parameter (what tells the entropies of bytes): what comes back is the same, bit for bit.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import torch
from torch import Tensor

from bitlm_core.checkpoint.packing import packed, unpacked
from bitlm_core.checkpoint.state_check import Layout, layout_of
from bitlm_core.models.grid import GROUP, Codes, packed_codes, quantized_parameters, unpacked_weight
from bitlm_core.models.interface import LanguageModel

LARGE = 4096
"""Numbers in a table from which on it is packed."""


def network_tensors(model: LanguageModel) -> dict[str, Tensor]:
    """All of them; what is not packed is not copied. Raises ModelStateError for weights that have left their grid."""
    tensors: dict[str, Tensor] = model.state_dict()
    if model.config.quantized:
        for name, parameter, kind in quantized_parameters(model, model.config.quantized):
            codes = packed_codes(name, parameter.detach().cpu(), kind)._asdict()
            del tensors[name]
            tensors |= {f"{name}/{part}": value for part, value in codes.items() if value is not None}
        for name, table in _large_tables(model):
            del tensors[name]
            tensors[f"{name}/packed"] = torch.from_numpy(packed(table.cpu().numpy()))
    return tensors


def network_layout(model: LanguageModel, tensors: Mapping[str, Tensor]) -> dict[str, Layout]:
    """Shape and dtype of each of `network_tensors`; how long a packed table is, only the tensors themselves tell."""
    layout = {name: layout_of(value) for name, value in model.state_dict().items()}
    if model.config.quantized:
        for name, parameter, kind in quantized_parameters(model, model.config.quantized):
            (rows, columns), four = parameter.shape, kind == "int4"
            del layout[name]
            layout[f"{name}/scales"] = (rows,), torch.bfloat16
            layout[f"{name}/codes"] = ((rows, -(-columns // 2)), torch.uint8) if four else ((rows, columns), torch.int8)
            if four:
                layout[f"{name}/multiples"] = (rows, -(-columns // GROUP)), torch.uint8
        for name, _ in _large_tables(model):
            del layout[name]
            stream = tensors.get(f"{name}/packed")
            layout[f"{name}/packed"] = (0 if stream is None else stream.numel(),), torch.uint8
    return layout


def restore_network(model: LanguageModel, tensors: Mapping[str, Tensor]) -> None:
    """Put back what `network_tensors` gave, of the layout that was checked. Raises ValueError for impossible ones."""
    found = dict(tensors)
    if model.config.quantized:
        for name, parameter, _ in quantized_parameters(model, model.config.quantized):
            codes = Codes(*(found.pop(f"{name}/{part}", None) for part in Codes._fields))  # type: ignore[arg-type]
            found[name] = unpacked_weight(codes, parameter.shape[1])
        for name, table in _large_tables(model):
            stream = found.pop(f"{name}/packed").cpu().numpy()
            found[name] = torch.from_numpy(unpacked(stream, table.cpu().numpy()))
    model.load_state_dict(found)


def _large_tables(model: LanguageModel) -> Iterator[tuple[str, Tensor]]:
    kept = model.state_dict().keys()
    return ((name, table) for name, table in model.named_buffers() if name in kept and table.numel() >= LARGE)
