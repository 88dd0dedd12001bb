"""`bitlm bench long`: what a position costs, in time and memory, as contexts grow from 4 k to 128 k positions.

Short and long contexts take turns in one run, over the same number of positions, so that other loads weigh on both.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from bitlm_core.bench.cases import Case
from bitlm_core.bench.machine import clock, typical
from bitlm_core.bench.memory import activation_bytes
from bitlm_core.device import keeping_freed_memory
from bitlm_core.models.build import build_model
from bitlm_core.models.config import ModelConfig
from bitlm_core.training.batches import Batch
from bitlm_core.training.trainer import Trainer

LENGTHS = (4096, 16_384, 65_536, 131_072)


@dataclass(frozen=True)
class LongCost:
    """One context length: microseconds per position of a training step and of an answer (medians), and activation bytes."""

    positions: int
    train_us: float
    answer_us: float
    bytes_per_position: float


def long_costs(case: Case, *, rounds: int, lengths: Sequence[int] = LENGTHS) -> Iterator[float | list[LongCost]]:
    """Yields the share that is done, and last the costs, one per length (in positions, as `max_seq_len`)."""
    torch.set_num_threads(case.threads)
    longest = max(lengths)
    train: dict[int, list[float]] = {length: [] for length in lengths}
    answer: dict[int, list[float]] = {length: [] for length in lengths}
    done = 0
    for _ in range(rounds):
        for length in lengths:
            with keeping_freed_memory():
                spent = _spent(case, length, longest // length)
            train[length].append(spent[0])
            answer[length].append(spent[1])
            done += 1
            yield done / (rounds * len(lengths))
    yield [
        LongCost(
            positions=length,
            train_us=1e6 * typical(train[length]),
            answer_us=1e6 * typical(answer[length]),
            bytes_per_position=_bytes_per_position(_of_length(case, length)),
        )
        for length in lengths
    ]


def _bytes_per_position(case: Case) -> float:
    return activation_bytes(case) / (case.model.max_bytes * case.model.positions_per_byte)


def _of_length(case: Case, length: int) -> Case:
    model = ModelConfig.model_validate({**case.model.model_dump(), "max_seq_len": length})
    return replace(case, model=model, training=case.training.model_copy(update={"batch_size": 1}))


def _spent(case: Case, length: int, repeats: int) -> tuple[float, float]:
    """Seconds per position of training and of answering, over `repeats` contexts of that length.

    One of each goes before and does not count: a process takes its memory from the system once, not at every step.
    """
    case = _of_length(case, length)
    model = build_model(case.model)
    trainer, now = Trainer(model, case.training, seed=0), clock(case.threads)
    data = torch.randint(0, 256, (1, case.model.max_bytes), generator=torch.Generator().manual_seed(0))
    positions = repeats * case.model.max_bytes * case.model.positions_per_byte
    with torch.no_grad():
        model.path_logits(data)
        answering = now()
        for _ in range(repeats):
            model.path_logits(data)
        answering = now() - answering
    trainer.step(Batch(data), objective="causal", step=0, progress=0.5)
    started = now()
    for step in range(repeats):
        trainer.step(Batch(data), objective="causal", step=step + 1, progress=0.5)
    return (now() - started) / positions, answering / positions
