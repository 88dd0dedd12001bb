"""Which optimizer moves which parameter, and how fast relative to `learning_rate`.

Muon (or AdamW, arXiv 1711.05101) moves the blocks' matrices, AdamW the head, embeddings, vectors and scalars, and Adagrad by
rows the tables of n-grams. Matrices decay; embeddings, vectors and scalars do not.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import nn

from bitlm_core.training.config import TrainingConfig
from bitlm_core.training.muon import POLAR, Muon
from bitlm_core.training.row_adagrad import RowAdagrad

# Each row of an embedding sees few gradients, and Muon's updates have a fixed norm.
_EMBEDDING_RATE = 3.0
_MUON_RATE = 4.0
_TABLE_RATE = 100 / 3
_MOMENTUM_STEPS = 100
_TABLE_DECAY_SHARE = 0.1  # rows are met rarely: those met last must still learn


def make_optimizers(
    parameters: Sequence[tuple[str, nn.Parameter]], config: TrainingConfig, muon: type[Muon] = Muon
) -> list[torch.optim.Optimizer]:
    """Together they own every parameter. A group's learning rate is `rate` times that of the run, with its own `decay_share`
    where it has one."""
    matrices: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    vectors: list[nn.Parameter] = []
    embeddings: list[nn.Parameter] = []
    for name, parameter in parameters:
        if is_table(name):
            continue
        if "embedding" in name:
            embeddings.append(parameter)
        elif parameter.dim() < 2 or name.endswith(".vectors"):
            vectors.append(parameter)
        else:
            (matrices if "blocks." in name else heads).append(parameter)
    decayed = {"rate": 1.0, "weight_decay": config.weight_decay}
    undecayed = [
        {"params": embeddings, "rate": _EMBEDDING_RATE, "weight_decay": 0.0},
        *([{"params": vectors, "rate": 1.0, "weight_decay": 0.0}] if vectors else []),
    ]
    tables = [parameter for name, parameter in parameters if is_table(name)]
    by_table = {"params": tables, "rate": _TABLE_RATE, "decay_share": _TABLE_DECAY_SHARE}
    by_rows: list[torch.optim.Optimizer] = [RowAdagrad([by_table])] if tables else []
    by_muon = matrices if config.optimizer == "muon" else []
    by_adam = [{"params": heads if by_muon else matrices + heads, **decayed}, *undecayed]
    found: list[torch.optim.Optimizer] = []
    if by_muon:
        group = {"params": by_muon, "rate": _MUON_RATE, "weight_decay": config.weight_decay}
        found.append(muon([group], polynomials=POLAR))
    if any(group["params"] for group in by_adam):  # who holds some of the layers alone may have nothing for it
        found.append(torch.optim.AdamW(by_adam, betas=(0.9, config.beta2), fused=True))
    return found + by_rows


def momentum(model_step: int) -> float:
    """Of Muon: the first gradients of a model are soon out of date, so its memory of them grows over its first steps."""
    return 0.85 + 0.1 * min(1.0, (model_step + 1) / _MOMENTUM_STEPS)


def is_table(name: str) -> bool:
    """Whether the parameter of that name is a table with sparse gradients."""
    return name.rpartition(".")[0].endswith(("ngram_embedding", "group_embedding"))


def state_layout(optimizer: torch.optim.Optimizer, parameter: nn.Parameter) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
    """Shape and dtype of what the optimizer keeps for a parameter after a step."""
    like = (tuple(parameter.shape), parameter.dtype)
    if isinstance(optimizer, torch.optim.Muon):
        return {"momentum_buffer": like}
    if isinstance(optimizer, RowAdagrad):
        return {"sum": ((len(parameter),), torch.float32)}
    return {"exp_avg": like, "exp_avg_sq": like, "step": ((), torch.float32)}
