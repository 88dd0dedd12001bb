"""One optimizer step at a time: forward, backward, clip, update.

Everything random in a step (dropout, masks) is drawn from a generator seeded by (seed, step, part of the batch), so no random
state needs to be saved for a run to resume exactly, and a part of a batch is the same whoever computes it (`distributed`).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass
from shutil import which
from typing import Any

import torch
from torch import Tensor, nn

from bitlm_core.diffusion.schedule import WHOLE_BYTES, Masking
from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.layers.halting import Trace
from bitlm_core.models.carried import Carried
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch
from bitlm_core.training.composite import Composite
from bitlm_core.training.compressed import Feed, Showing, feed_of, show
from bitlm_core.training.config import Objective, TrainingConfig, dropout_after, learning_rate
from bitlm_core.training.objective import BatchLoss, batch_loss, learns
from bitlm_core.training.optim import is_table, make_optimizers, momentum, state_layout
from bitlm_core.training.row_adagrad import joined_occurrences
from bitlm_core.training.teaching import Teaching

_COMPILERS = ("g++", "clang++", "c++")  # for the code that torch.compile writes
_SEED_STRIDE = 1_000_003  # keeps the streams of neighbouring seeds apart
_PART_STRIDE = 1 << 40  # and those of parts
_AS_THEY_ARE = nullcontext()


@dataclass(frozen=True)
class StepResult:
    """What one optimizer step did. `loss` in nats per byte shown; `path_logits` [B, T, 8] and `trace` are of its forward pass.

    `path_logits`: of the windows that were shown as data, `trace` of the first part of these, where there are some. `feed`: how
    windows were shown, of a training that shows them in several ways.
    """

    loss: float
    grad_norm: float
    learning_rate: float
    path_logits: Tensor
    trace: Trace
    feed: Feed | None = None


class Trainer:
    """Holds a network's optimizers, see `optim`. teaching: what it learns from another network meanwhile, if anything.

    model: the network that answers. network: the one that learns; the same, unless several processes share the work.
    """

    def __init__(self, model: LanguageModel, config: TrainingConfig, seed: int) -> None:
        self.model, self.config, self.seed = model, config, seed
        self.network = self._made_network()
        self.teaching: Teaching | None = None
        self._optimizers = self._made_optimizers()

    def step(
        self,
        batch: Batch,
        *,
        objective: Objective,
        step: int,
        progress: float,
        passes: float = 0.0,
        carried: Carried | None = None,
        masking: Masking = WHOLE_BYTES,
        composite: Composite | None = None,
        rate: float = 1.0,
        alone: Collection[str] = (),
        weights: AbstractContextManager[object] = _AS_THEY_ARE,
        of_bytes: int | None = None,
    ) -> StepResult:
        """Train on one batch. A loss that is not finite raises ModelStateError and leaves the weights as they were.

        `progress` of the run, 0 … 1, sets the learning rate, and `rate` is a factor of it; `passes`, how often the run has read
        its data, the dropout of models that leave it open. `masking`: what diffusion hides. `composite`: a term beside the
        loss. `carried`: the rows go on where these streams stand; it is the caller who then commits the batch to them.
        `alone`: the parameters that learn, all others staying bit for bit as they are, moments too; () for all. `weights`:
        stands around the passes, and may let them see other ones than those that are moved. `of_bytes`: how many bytes the
        whole batch has, where this is a share of it.
        """
        model = self.network
        batch = self.teaching.shown(batch, step=step, progress=progress) if self.teaching else batch
        if model.config.dropout is None:
            # What diffusion hides is different each time, so a network does not come to know its data by heart.
            model.set_dropout(0.0 if objective == "diffusion" else dropout_after(passes))
        model.train()
        try:
            with self.training_dtype(), self._compiled(), torch.random.fork_rng(devices=_cuda_devices(model)):
                told: dict[str, Any] = {"carried": carried, "masking": masking, "composite": composite}
                told["teaching"] = self.teaching and self.teaching.due(progress)
                showing = show(batch, self.config, seed=self.seed, step=step, progress=progress).to(self.model.device)
                with weights:
                    loss, logits, trace, feed = self._backward(showing, objective, step, of_bytes or showing.num_bytes, told)
            self._hold_all_but(alone)
            norm = self._clip()
            _check_finite(step, loss, norm)
            self._move(progress, step, rate)
        finally:
            model.zero_grad(set_to_none=True)
            model.eval()
        return StepResult(loss, norm, rate * learning_rate(self.config, progress, step), logits, trace, feed)

    @property
    def dtype(self) -> torch.dtype:
        """Of the sub-blocks in training."""
        return torch.bfloat16 if self.config.use_autocast else torch.float32

    @contextmanager
    def training_dtype(self) -> Iterator[None]:
        """While it lasts, sub-blocks use the dtype of training; afterwards fp32 again, as all answers do."""
        networks = [*self.model.networks, *self.network.networks]
        for network in networks:
            network.compute_dtype = self.dtype
        try:
            yield
        finally:
            for network in networks:
                network.compute_dtype = torch.float32

    @contextmanager
    def _compiled(self) -> Iterator[None]:
        """Answers have many shapes, each of which would be compiled for half a minute: so only steps are."""
        if self.config.compile and not any(which(compiler) for compiler in _COMPILERS):
            raise ConfigError(
                f"compile=true needs one of {', '.join(_COMPILERS)} on the search path, and there is none: install it, or "
                "train with compile=false"
            )
        stacks = [stack for network in self.network.networks for stack in network.stacks]
        for stack in stacks:
            stack.compiled = self.config.compile
        try:
            yield
        finally:
            for stack in stacks:
                stack.compiled = False

    def configure(self, config: TrainingConfig) -> None:
        """Use other settings from the next step on. The moments stay, unless another optimizer is asked for."""
        kept = self._moments() if config.optimizer == self.config.optimizer else {}
        self.config = config
        self._optimizers = self._made_optimizers()
        self.restore(kept)

    def settle(self) -> None:
        """Have `model` know what `network` has learned."""

    def state(self) -> dict[str, Tensor]:
        """The optimizers' tensors: `<parameter name>/<name of the tensor>`."""
        return self._moments()

    def _moments(self) -> dict[str, Tensor]:
        return {
            f"{name}/{key}": value
            for name, parameter in self.parameters()
            for optimizer in self._optimizers
            for key, value in optimizer.state.get(parameter, {}).items()
        }

    def parameters(self) -> list[tuple[str, nn.Parameter]]:
        """What is moved here, by name."""
        return list(self.network.named_parameters())

    def _made_network(self) -> LanguageModel:
        return self.model

    def _made_optimizers(self) -> list[torch.optim.Optimizer]:
        return make_optimizers(self.parameters(), self.config)

    def restore(self, tensors: dict[str, Tensor]) -> None:
        """Take back what `state` gave; nothing at all means fresh moments. Foreign tensors must fit `layout`: check first."""
        if not tensors:
            return
        by_parameter: dict[str, dict[str, Tensor]] = {}
        for path, value in tensors.items():
            name, key = path.rsplit("/", 1)
            by_parameter.setdefault(name, {})[key] = value.clone()
        for name, parameter, optimizer in self._owned():
            optimizer.state[parameter] = {key: value.to(parameter.device) for key, value in by_parameter[name].items()}

    def layout(self) -> dict[str, tuple[tuple[int, ...], torch.dtype]]:
        """Shape and dtype of every tensor that `state` gives after a step."""
        found: dict[str, tuple[tuple[int, ...], torch.dtype]] = {}
        for name, parameter, optimizer in self._owned():
            found |= {f"{name}/{key}": like for key, like in state_layout(optimizer, parameter).items()}
        return found

    def _hold_all_but(self, alone: Collection[str]) -> None:
        """No optimizer touches what has no gradient."""
        for name, parameter in self.parameters() if alone else ():
            if name not in alone:
                parameter.grad = None

    def _move(self, progress: float, step: int, rate: float) -> None:
        """One step of each optimizer, by the schedules; `rate`: times theirs."""
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                scheduled = learning_rate(self.config, progress, step, decay_share=group.get("decay_share"))
                group["lr"] = group["rate"] * rate * scheduled
                if "momentum" in group:
                    group["momentum"] = momentum(step)
            optimizer.step()

    def _clip(self) -> float:
        """Scale gradients down to `max_grad_norm`; their norm before. Tables are left out: Adagrad undoes any scale."""
        dense = [parameter for name, parameter in self.parameters() if not is_table(name)]
        return float(nn.utils.clip_grad_norm_(dense, self.config.max_grad_norm))

    def _owned(self) -> Iterator[tuple[str, nn.Parameter, torch.optim.Optimizer]]:
        owner = {
            id(parameter): optimizer
            for optimizer in self._optimizers
            for group in optimizer.param_groups
            for parameter in group["params"]
        }
        for name, parameter in self.parameters():
            yield name, parameter, owner[id(parameter)]

    def _backward(
        self, showing: Showing, objective: Objective, step: int, of_bytes: int, told: dict[str, Any]
    ) -> tuple[float, Tensor, Trace, Feed | None]:
        total, trace = 0.0, None
        tables = {parameter: list[Tensor]() for name, parameter in self.parameters() if is_table(name)}
        data_logits, direct_logits = ([showing.data.data.new_zeros((0, 1, 8), dtype=torch.float32)] for _ in range(2))
        # Streams are carried for the whole batch, so it is not cut then.
        parts = showing.parts(1 if told["carried"] else self.config.accumulation)
        for number, (part, is_data) in enumerate(parts):
            share = part.num_bytes / of_bytes
            own = told if is_data else told | {"composite": None, "teaching": None}  # which are about bytes of data
            random_seed = self._random_seed(step, self._first_part + number)
            torch.manual_seed(random_seed)
            generator = torch.Generator().manual_seed(random_seed)
            with self._exchanging(last=number == len(parts) - 1):
                found = self._loss(part, objective, generator, ponder_cost=self.config.ponder_cost, **own)
                (found.minimised * share).backward()  # type: ignore[no-untyped-call]
            for table, grads in tables.items():
                grads += [] if table.grad is None else [table.grad]
                table.grad = None
            total += found.nats.item() * share
            (data_logits if is_data else direct_logits).append(found.path_logits)
            trace = trace or found.trace  # of the first part
        for table, grads in tables.items():
            table.grad = joined_occurrences(table, grads) if grads else None
        total = self._exchanged(total)
        self._complete_gradients(objective)
        logits, direct = torch.cat(data_logits[1:] or data_logits), torch.cat(direct_logits[1:] or direct_logits)
        return total, logits, trace or Trace(), feed_of(showing, logits, direct) if self.config.feeds else None

    def _random_seed(self, step: int, part: int) -> int:
        return self.seed * _SEED_STRIDE + step + part * _PART_STRIDE

    def _complete_gradients(self, objective: Objective) -> None:
        """Of a layer that no position reached, moments are kept like all others. What takes no part stays as it is, but is met
        once, so that there are moments of everything."""
        apart = self.network.masked_network is not None
        for name, parameter, optimizer in self._owned():
            if parameter.grad is None and (learns(name, objective, apart=apart) or not optimizer.state.get(parameter)):
                parameter.grad = joined_occurrences(parameter, []) if is_table(name) else torch.zeros_like(parameter)

    # For trainers of several processes

    @property
    def _first_part(self) -> int:
        """The number, in the batch, of the first part that is computed here."""
        return 0

    def _loss(self, part: Batch, objective: Objective, generator: torch.Generator, **told: Any) -> BatchLoss:
        return batch_loss(self.network, part, objective, generator, **told)

    def _exchanging(self, *, last: bool) -> AbstractContextManager[object]:
        """Around the passes of a part, the last one of the step or not."""
        return _AS_THEY_ARE

    def _exchanged(self, nats: float) -> float:
        """After all parts: every process has the gradients of all; the sum of what each has measured."""
        return nats


def _check_finite(step: int, loss: float, norm: float) -> None:
    if not math.isfinite(loss) or not math.isfinite(norm):
        raise ModelStateError(
            f"step {step + 1} gave loss={loss} and gradient norm={norm}; the weights were left as they were: "
            "train again with a smaller learning_rate",
            loss=loss,
            grad_norm=norm,
        )


def _cuda_devices(model: LanguageModel) -> list[torch.device]:  # whose random state a step draws from, beside the CPU's
    return [model.device] if model.device.type == "cuda" else []
