"""What a network costs: operations of a forward pass per byte, computed from its sizes alone. No torch in here.

Counted is what `torch.utils.flop_counter` counts: matrix products, and attention as one product of all queries with all keys
and one with all values, causal or not; in chunks, padded to whole ones. A multiplication and an addition are two operations.
What is elementwise, looked up or made once per batch (the table of embeddings, by which the counter comes out higher for
small batches) is not counted. It is the pass of training, over full windows, in fp32: bf16 on CPU saves a causal network part
of its full attention, and answers of `patch` pad their patches. Training takes about three times as much.
"""

from __future__ import annotations

import math

from bitlm_core.errors import ConfigError
from bitlm_core.models.config import ModelConfig
from bitlm_core.models.patch_sizes import PatchSizes

NODES = 256


def flops_per_byte(config: ModelConfig, mean_patch_size: float | None = None) -> float:
    """Operations of the causal network per byte of a full window; 0 without a network.

    `mean_patch_size`: bytes per patch, for architecture="patch"; None: what its patching aims at. All layers are counted, those
    too that halting may leave out; a second network for masked predictions is not. Raises ConfigError for a mean below 1, for
    one that no patches have, and where none is given and patching aims at none.
    """
    if config.patch is None and mean_patch_size is not None:
        raise ConfigError(
            f"mean_patch_size={mean_patch_size:g} means nothing with architecture={config.architecture!r}: leave it out"
        )
    if not config.has_network:
        return 0.0
    if config.patch is not None:
        mean = _aimed_at(config.patch) if mean_patch_size is None else mean_patch_size
        return _of_patches(config, config.patch, mean, config.max_bytes)
    positions = config.max_bytes * config.positions_per_byte
    head = 2 * config.d_model * (1 if config.architecture == "bit" else NODES)
    return (_of_stack(config, positions) + positions * head) / config.max_bytes


def _of_patches(config: ModelConfig, sizes: PatchSizes, mean: float, num_bytes: int) -> float:
    """START is read before the bytes (all but the last, which is only predicted), and is a patch of its own."""
    if mean < 1:
        raise ConfigError(f"mean_patch_size={mean:g} is below 1, and no patch is shorter than a byte: give at least 1")
    w, d, places = sizes.local_width, config.d_model, 2 * sizes.slots * sizes.local_width
    patches = 1 + math.ceil((num_bytes - 1) / mean)
    local = (sizes.encoder_layers + sizes.decoder_layers) * _of_local_layer(sizes, num_bytes)
    pooling = 4 * num_bytes * w * w + 2 * patches * (w * w + 2 * w * d) + 4 * patches * num_bytes * w
    reading = 4 * num_bytes * w * w + 2 * patches * d * places
    memory = 2 * d * d * (2 * patches + patches // sizes.memory_span) if sizes.memory_span else 0
    head = 2 * num_bytes * w * NODES
    return (local + pooling + _of_stack(config, patches) + reading + memory + head) / num_bytes


def _of_stack(config: ModelConfig, positions: int) -> int:
    d, differential = config.d_model, config.attention == "differential"
    linear = 2 * positions * (4 * d * d + 2 * d * config.dim_feedforward)
    # A pair of heads of half the width has two maps, each of which weighs values of the whole width.
    return config.num_layers * (linear + (6 if differential else 4) * d * _seen(positions, config.chunks))


def _of_local_layer(sizes: PatchSizes, positions: int) -> int:
    w = sizes.local_width
    return 24 * positions * w * w + 4 * w * _seen(positions, (sizes.local_chunk, sizes.local_chunk))


def _seen(positions: int, chunks: tuple[int, int] | None) -> int:
    """Pairs of a query and a key."""
    if chunks is None:
        return positions * positions
    chunk, overlap = chunks
    if (positions - 1) // chunk * chunk <= overlap:
        return positions * positions
    return math.ceil(positions / chunk) * chunk * (chunk + overlap)


def _aimed_at(sizes: PatchSizes) -> float:
    patching = sizes.patching
    if patching.stride is not None:
        return float(patching.stride)
    if patching.scheme == "entropy" and (patching.entropy_threshold is None or patching.adaptive):
        return patching.mean_patch_size
    raise ConfigError(
        f"with scheme={patching.scheme!r}, entropy_threshold={patching.entropy_threshold} the data decides how long patches "
        "are: give mean_patch_size as it was found"
    )
