"""Kernels compiled ahead of the first call that needs them.

numba compiles a function when it is first called, and keeps the result beside its source. On a machine that never ran a
model the first answer waits for that: half a minute with a byte model, more with a byte-latent one. Here small models are made,
taught and asked, so that this happens at a time of one's choosing. What only scoring, repair and benchmarks need is left out.
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from bitlm_core.compression.model_codec import ModelCodec
from bitlm_core.compression.self_contained import compress_steps
from bitlm_core.engine import Engine
from bitlm_core.engine_config import EngineConfig
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.models.presets import preset_config
from bitlm_core.steps import finished
from bitlm_core.training.config import TrainingConfig, TrainingPlan
from bitlm_core.training.data import bytes_in_memory

Compiled = Literal["byte", "patch"]
KINDS: tuple[Compiled, ...] = ("byte", "patch")
"""What is compiled apart, so that two processes can share the work."""
_TEXT = b"What is read here only has to be there. " * 20
_STEPS = 12  # enough that the mixer meets the network


def compile_ahead(kind: Compiled) -> None:
    """Compile what models of that kind need, alone and with context mixing: to learn, to answer, to compress.

    Does next to nothing where that was done before.
    """
    data = np.frombuffer(_TEXT, np.uint8)
    mixing = MixingConfig(memory_mib=8)
    model, training = preset_config("tiny", kind, d_model=32, max_seq_len=64), TrainingConfig(batch_size=2)
    if kind == "byte":
        finished(compress_steps(data, memory_mib=mixing.memory_mib))
    for beside in (None, mixing):
        engine = Engine(EngineConfig(model=model, training=training, mixing=beside))
        for _ in engine.train_steps(bytes_in_memory(_TEXT), TrainingPlan(steps=_STEPS)):
            pass
        finished(engine.infer_steps(_TEXT[:16], 16, SamplingConfig(seed=0)))
        finished(ModelCodec(engine.model, engine.mixer).compress_steps(data[:64]))
