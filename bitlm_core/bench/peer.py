"""nanoGPT's CPU recipe beside ours: the same bytes, the same clock, one thread.

The code is that of a checkout given by its path (https://github.com/karpathy/nanoGPT), never a copy of ours. The recipe is
that of its README for a CPU: 4 layers, 4 heads, width 128, context 64, batch 12, no dropout, fp32; AdamW with the rates of
its configuration for characters; the cosine follows the clock instead of the iterations.
"""

from __future__ import annotations

import importlib.util
import math
import sys
import time
from collections.abc import Iterator
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bitlm_core.bench.learn import split
from bitlm_core.bench.report import Report
from bitlm_core.errors import ConfigError
from bitlm_core.mixing.windows import half_overlapping

CONTEXT, BATCH = 64, 12
_SHAPE = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": CONTEXT, "dropout": 0.0, "bias": False}
_PEAK, _END, _WARMUP = 1e-3, 1e-4, 100
_WINDOWS_PER_BATCH = 64


@dataclass(frozen=True)
class PeerReport(Report):
    """The outcome; bits per byte of the held-out bytes, every one scored once, frozen."""

    peer_bpb: float
    peer_steps: int
    peer_bytes_seen: int
    peer_cpu_seconds: float
    peer_num_parameters: int


def nanogpt_steps(checkout: Path, data: bytes, *, seconds: float, threads: int) -> Iterator[float | PeerReport]:
    """Yields the share of the CPU seconds used after each step, and last the report. `model.py` of the checkout is executed.

    Raises ConfigError, before the first step is asked for, for what is no checkout and for data shorter than a context.
    """
    gpt = _module(checkout)
    if len(split(data)[0]) <= CONTEXT:
        raise ConfigError(f"{len(data)} bytes are too few for contexts of {CONTEXT} bytes: give at least 100")
    return _steps(gpt, data, seconds, threads)


def _steps(gpt: ModuleType, data: bytes, seconds: float, threads: int) -> Iterator[float | PeerReport]:
    torch.set_num_threads(threads)
    symbols = np.frombuffer(data, np.uint8)
    kinds = np.unique(symbols)
    train, held = (torch.from_numpy(np.searchsorted(kinds, np.frombuffer(part, np.uint8))) for part in split(data))
    torch.manual_seed(1337)
    with redirect_stdout(sys.stderr):  # it tells its sizes
        model = gpt.GPT(gpt.GPTConfig(vocab_size=len(kinds), **_SHAPE))
        optimizer = model.configure_optimizers(0.1, _PEAK, (0.9, 0.99), "cpu")
    started, used, steps = time.process_time(), 0.0, 0
    while used < seconds:
        _step(model, optimizer, train, steps, used / seconds)
        steps += 1
        used = time.process_time() - started
        yield min(1.0, used / seconds)
    yield PeerReport(
        peer_bpb=_nats(model.eval(), held) / (math.log(2) * len(held)),
        peer_steps=steps,
        peer_bytes_seen=steps * BATCH * CONTEXT,
        peer_cpu_seconds=used,
        peer_num_parameters=sum(parameter.numel() for parameter in model.parameters()),
    )


def _module(checkout: Path) -> ModuleType:
    path = checkout / "model.py"
    spec = importlib.util.spec_from_file_location("nanogpt_model", path) if path.is_file() else None
    if spec is None or spec.loader is None:
        raise ConfigError(f"{checkout} holds no model.py: give the path of a checkout of github.com/karpathy/nanoGPT")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (ImportError, SyntaxError) as error:
        raise ConfigError(f"{path} cannot be executed ({error}): give the path of a whole checkout") from error
    if not (hasattr(module, "GPT") and hasattr(module, "GPTConfig")):
        raise ConfigError(f"{path} defines no GPT and GPTConfig: give the path of a checkout of github.com/karpathy/nanoGPT")
    return module


def _step(model: Any, optimizer: torch.optim.Optimizer, train: Tensor, step: int, progress: float) -> None:
    warm = min(1.0, (step + 1) / _WARMUP)
    for group in optimizer.param_groups:
        group["lr"] = warm * (_END + (_PEAK - _END) * (1 + math.cos(math.pi * progress)) / 2)
    starts = torch.randint(len(train) - CONTEXT, (BATCH, 1))
    windows = train[starts + torch.arange(CONTEXT + 1)]
    _, loss = model(windows[:, :-1].contiguous(), windows[:, 1:].contiguous())
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)


@torch.no_grad()
def _nats(model: Any, held: Tensor) -> float:
    """Every byte but the first from at least half a context, as our own windows do; the first one at one in all kinds."""
    kinds = model.config.vocab_size
    total, batch = math.log(kinds), []
    for window in half_overlapping(len(held) - 1, CONTEXT):
        if window.end - window.start == CONTEXT and not window.begins:
            batch.append(window.start)
            continue
        logits, _ = model(held[None, window.start : window.end], held[None, window.start + 1 : window.end + 1])
        targets = held[window.predicted + 1 : window.end + 1]
        total += float(_losses(logits[0, window.predicted - window.start :], targets).double().sum())
    for begin in range(0, len(batch), _WINDOWS_PER_BATCH):
        starts = torch.tensor(batch[begin : begin + _WINDOWS_PER_BATCH])[:, None]
        rows = held[starts + torch.arange(CONTEXT + 1)]
        logits, _ = model(rows[:, :-1].contiguous(), rows[:, 1:].contiguous())
        half = CONTEXT // 2
        total += float(_losses(logits[:, half:].flatten(0, 1), rows[:, half + 1 :].flatten()).double().sum())
    return total


def _losses(logits: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(logits, targets, reduction="none")
