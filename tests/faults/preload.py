"""What the process that forks servers loads once. It starts no threads, so that forking it is safe."""

from __future__ import annotations

import os
import signal

os.environ["CUDA_VISIBLE_DEVICES"] = ""  # neither CUDA nor autograd, which has a thread for each GPU, outlives a fork

import numpy  # noqa: F401
import torch

import bitlm_core
import bitlm_core.engine
import bitlm_mcp.assembly
import bitlm_mcp.cli
import bitlm_mcp.transports  # noqa: F401

torch.set_num_threads(1)
signal.signal(signal.SIGINT, signal.SIG_DFL)


def _warm() -> None:
    """Load and compile what a server otherwise does at its first training."""
    config = bitlm_core.EngineConfig(
        model=bitlm_core.preset_config("tiny", d_model=32, nhead=1, num_layers=1, max_seq_len=64),
        training=bitlm_core.TrainingConfig(batch_size=2),
        mixing=bitlm_core.MixingConfig(memory_mib=8),
    )
    engine = bitlm_core.Engine(config)
    for _ in engine.train_steps(bitlm_core.bytes_in_memory(bytes(range(256)) * 8), bitlm_core.TrainingPlan(steps=1)):
        pass


_warm()
