"""One optimizer step at a time: forward, backward, clip, update.

Muon (Newton–Schulz orthogonalised momentum, https://kellerjordan.github.io/posts/muon) moves the blocks' matrices, AdamW
(arXiv 1711.05101) everything else; or AdamW moves all. Everything random in a step (dropout, masks) is drawn from a
generator seeded by (seed, step), so no random state needs to be carried or saved for a run to resume exactly.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from bitlm_core.errors import ModelStateError
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.config import Objective, TrainingConfig
from bitlm_core.training.objective import batch_loss

# Rates relative to `learning_rate`: each row of an embedding sees few gradients, and Muon's updates have a fixed norm.
_EMBEDDING_RATE = 3.0
_MUON_RATE = 20 / 3
_SEED_STRIDE = 1_000_003  # keeps the streams of neighbouring seeds apart


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did. `loss` in nats per byte; `path_logits` [B, T, 8] are those of its forward pass."""

    loss: float
    grad_norm: float
    path_logits: Tensor


class Trainer:
    """Holds a network's optimizers. Matrices decay, embeddings do not."""

    def __init__(self, model: LanguageModel, config: TrainingConfig, seed: int) -> None:
        self.model, self.config, self.seed = model, config, seed
        self._optimizers = _make_optimizers(model, config)

    def step(self, data_BT: Tensor, *, objective: Objective, step: int, lr: float) -> StepResult:
        """Train on one batch. A loss that is not finite raises ModelStateError and leaves the weights as they were."""
        model = self.model
        random_seed = self.seed * _SEED_STRIDE + step
        generator = torch.Generator().manual_seed(random_seed)
        model.train()
        try:
            with self.training_dtype(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(random_seed)
                loss, logits = self._backward(data_BT, objective, generator)
            norm = float(nn.utils.clip_grad_norm_(model.parameters(), self.config.max_grad_norm))
            if not math.isfinite(loss) or not math.isfinite(norm):
                raise ModelStateError(
                    f"step {step + 1} gave loss={loss} and gradient norm={norm}; the weights were left as they were: "
                    "train again with a smaller learning_rate",
                    loss=loss,
                    grad_norm=norm,
                )
            for optimizer in self._optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr * group["rate"]
                optimizer.step()
        finally:
            model.zero_grad(set_to_none=True)
            model.eval()
        return StepResult(loss, norm, logits)

    @contextmanager
    def training_dtype(self) -> Iterator[None]:
        """While it lasts, activations use the dtype of training; afterwards fp32 again, as all answers do."""
        self.model.compute_dtype = torch.bfloat16 if self.config.dtype == "bfloat16" else torch.float32
        try:
            yield
        finally:
            self.model.compute_dtype = torch.float32

    def configure(self, config: TrainingConfig) -> None:
        """Use other settings from the next step on. The moments stay, unless another optimizer is asked for."""
        kept = self.state() if config.optimizer == self.config.optimizer else {}
        self.config = config
        self._optimizers = _make_optimizers(self.model, config)
        self.restore(kept)

    def state(self) -> dict[str, Tensor]:
        """The optimizers' tensors: `<parameter name>/<name of the tensor>`."""
        return {
            f"{name}/{key}": value
            for name, parameter in self.model.named_parameters()
            for optimizer in self._optimizers
            for key, value in optimizer.state.get(parameter, {}).items()
        }

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave; nothing at all means fresh moments. Foreign tensors must fit `layout`: check first."""
        if not tensors:
            return
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            name, key = path.rsplit("/", 1)
            by_parameter.setdefault(name, {})[key] = value.clone()
        for name, parameter, optimizer in self._owned():
            optimizer.state[parameter] = by_parameter[name]

    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor that `state` gives after a step."""
        found = {}
        for name, parameter, optimizer in self._owned():
            like = (tuple(parameter.shape), parameter.dtype)
            if isinstance(optimizer, torch.optim.Muon):
                found[f"{name}/momentum_buffer"] = like
            else:
                found |= {f"{name}/exp_avg": like, f"{name}/exp_avg_sq": like, f"{name}/step": ((), torch.float32)}
        return found

    def _owned(self) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
        owner = {
            id(parameter): optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, parameter in self.model.named_parameters():
            yield name, parameter, owner[id(parameter)]

    def _backward(self, data_BT: Tensor, objective: Objective, generator: torch.Generator) -> tuple[float, Tensor]:
        parts = data_BT.chunk(min(self.config.accumulation, len(data_BT)))
        total, logits = 0.0, []
        for part in parts:
            share = len(part) / len(data_BT)
            loss, nats, part_logits = batch_loss(self.model, part, objective, generator)
            (loss * share).backward()  # type: ignore[no-untyped-call]
            total += nats.item() * share
            logits.append(part_logits)
        return total, torch.cat(logits)


def _make_optimizers(model: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    blocks: list[nn.Parameter] = []
    heads: list[nn.Parameter] = []
    embeddings: list[nn.Parameter] = []
    for name, parameter in model.named_parameters():
        (blocks if "blocks." in name else embeddings if "embedding" in name else heads).append(parameter)
    unscaled = {"rate": 1.0, "weight_decay": config.weight_decay}
    embedding_group = {"params": embeddings, "rate": _EMBEDDING_RATE, "weight_decay": 0.0}
    betas = (0.9, config.beta2)
    if config.optimizer == "adamw":
        groups = [{"params": blocks + heads, **unscaled}, embedding_group]
        return [torch.optim.AdamW(groups, betas=betas, fused=True)]
    return [
        torch.optim.Muon([{"params": blocks, "rate": _MUON_RATE, "weight_decay": config.weight_decay}]),
        torch.optim.AdamW([{"params": heads, **unscaled}, embedding_group], betas=betas, fused=True),
    ]
