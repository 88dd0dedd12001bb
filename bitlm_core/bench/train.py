"""`bitlm bench train`: how fast a network trains, against the fastest matrix product of the machine in the same run.

The share counts what the blocks' matrices must do, 6 operations per parameter and position (2 forward, 4 backward), and
nothing else: attention's maps, the head, norms, the optimizer and what is computed again are all on the other side.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import torch

from bitlm_core.bench.cases import Case
from bitlm_core.bench.machine import Gemm, clock, require, typical
from bitlm_core.device import keeping_freed_memory
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel
from bitlm_core.training.batches import Batch
from bitlm_core.training.trainer import Trainer


@dataclass(frozen=True)
class TrainSpeed:
    """`gemm_gflops`: the machine's ceiling in the dtype of the sub-blocks; `gemm_share` of it; medians over the steps."""

    case: Case
    bytes_per_second: float
    step_ms: float
    gemm_gflops: float
    gemm_share: float
    num_parameters: int


def train_speeds(cases: Iterable[Case], *, steps: int, device: str = "cpu") -> Iterator[TrainSpeed]:
    """One result per case; each takes `steps` optimizer steps after two that do not count.

    Raises ConfigError where there is no such device.
    """
    require(device)
    for case in cases:
        torch.set_num_threads(case.threads)
        model = build_model(case.model).to(device)
        with keeping_freed_memory():
            seconds, gflops = _measured(case, model, steps, device)
        num_bytes = case.training.batch_size * case.model.max_bytes
        work = 6 * block_parameters(model) * num_bytes * case.model.positions_per_byte
        yield TrainSpeed(
            case=case,
            bytes_per_second=num_bytes / seconds,
            step_ms=1e3 * seconds,
            gemm_gflops=gflops,
            gemm_share=work / seconds / 1e9 / gflops,
            num_parameters=sum(parameter.numel() for parameter in model.parameters()),
        )


def _measured(case: Case, model: LanguageModel, steps: int, device: str) -> tuple[float, float]:
    """Seconds of a step, and the GFLOP/s of the matrix products that took turns with them."""
    trainer = Trainer(model, case.training, seed=0)
    now, gemm = clock(case.threads, device), Gemm(trainer.dtype, device)
    generator = torch.Generator().manual_seed(1)
    size = (case.training.batch_size, case.model.max_bytes)
    batches = [Batch(torch.randint(0, 256, size, generator=generator)) for _ in range(4)]
    durations, ceilings = [], []
    for index in range(steps + 2):
        ceilings.append(gemm.gflops(now))
        started = now()
        trainer.step(batches[index % 4], objective="causal", step=index, progress=0.5)
        durations.append(now() - started)
    return typical(durations[2:]), typical(ceilings[2:])


def block_parameters(model: LanguageModel) -> int:
    """Elements of the blocks' matrices."""
    return sum(parameter.numel() for parameter in model.stack.blocks.parameters() if parameter.dim() == 2)
