"""Several prompts continued beside each other: weights are read once for a step of all of them.

Streams are dealt out to threads, each with its own memories; a thread holds the GIL only between calls of the kernels. (Threads
over the rows of a product would have to meet some dozen times a byte, which on a shared machine costs more than it gives.)
A stream's bytes are those it would have alone: they depend neither on its neighbours nor on the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import cast

import numpy as np

from bitlm_core.errors import ConfigError
from bitlm_core.generation.autoregressive import BYTES_AT_ONCE, Generation, check_count
from bitlm_core.generation.sampling import SamplingConfig
from bitlm_core.kernels.mixing_layout import Memory
from bitlm_core.kernels.mixing_step import place_of
from bitlm_core.mixing.fused import FusedStreams, Places
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import check_fused
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.packed import Packable, own_weights, packed
from bitlm_core.models.packed_stack import AnyWeights

MAX_THREADS = 256
MAX_STREAMS = 4096


def generate_many(
    model: LanguageModel,
    mixer: ContextMixer | None,
    prompts: Sequence[bytes],
    max_new_bytes: int,
    sampling: SamplingConfig,
    *,
    threads: int = 1,
    weights: AnyWeights = None,
) -> list[Generation]:
    """Continue each prompt; stream i draws with seed + i, and gives what `infer` gives with that seed. The mixer is frozen.

    Raises ConfigError for a model that the compiled kernels cannot run, for a constraint, and for numbers out of range.
    """
    check_count(max_new_bytes)
    check_fused(model)
    for name, value, most in (("threads", threads, MAX_THREADS), ("prompts", len(prompts), MAX_STREAMS)):
        if not 1 <= value <= most:
            raise ConfigError(f"{value} {name} are not between 1 and {most:,}: give a number in between")
    if sampling.constraint != "none":
        raise ConfigError(f"constraint={sampling.constraint!r} is followed byte by byte: use infer for one prompt at a time")
    packable = cast(Packable, model)
    packed(packable, weights or own_weights(model))  # once, before the threads would each do it
    indices = np.array_split(np.arange(len(prompts)), min(threads, len(prompts)))

    def continued(own: Sequence[int]) -> list[Generation]:
        streams = FusedStreams(packable, count=len(own), weights=weights)
        seeds = [sampling.seed + int(i) for i in own]
        return _continue(streams, mixer, [prompts[i] for i in own], max_new_bytes, sampling, seeds)

    with ThreadPoolExecutor(len(indices)) as pool:
        return [generation for part in pool.map(continued, indices) for generation in part]


def _continue(
    streams: FusedStreams,
    mixer: ContextMixer | None,
    prompts: Sequence[bytes],
    max_new_bytes: int,
    sampling: SamplingConfig,
    seeds: Sequence[int],
) -> list[Generation]:
    memory, places = _places(mixer, prompts) if mixer else (None, None)
    for stream, prompt in enumerate(prompts):
        streams.read(prompt, stream)
    randoms = [np.random.Generator(np.random.Philox(seed)) for seed in seeds]
    written: list[bytearray] = [bytearray() for _ in prompts]
    nats: list[list[float]] = [[] for _ in prompts]
    while len(written[0]) < max_new_bytes:
        count = min(max_new_bytes - len(written[0]), streams.room, BYTES_AT_ONCE)
        uniforms = np.stack([random.random(count) for random in randoms])
        data, cost = streams.draw(uniforms, sampling.temperature, sampling.top_p, memory, places)
        for own, costs, drawn, cost_of_drawn in zip(written, nats, data, cost, strict=True):
            own += drawn.tobytes()
            costs += cost_of_drawn.tolist()
    per_byte = 1 / (math.log(2) * max_new_bytes)
    # fsum: exact, so that the sum does not depend on how many bytes were drawn at once
    return [
        Generation(bytes(own), math.fsum(costs) * per_byte, engine="fused") for own, costs in zip(written, nats, strict=True)
    ]


def _places(mixer: ContextMixer, prompts: Sequence[bytes]) -> tuple[Memory, Places]:
    """One copy of the mixer for all streams, and where each of them stands after its prompt."""
    own = mixer.copy()
    memory = Memory(**own.own_arrays)
    places = []
    for prompt in prompts:
        own.start_document()
        own.read(np.frombuffer(prompt, np.uint8), learn=False)
        places.append(place_of(memory))
    return memory, Places(np.stack([recent for recent, _ in places]), np.stack([numbers for _, numbers in places]))
