"""The machine: how much memory a model would take, how much there is, and how many cores. No torch in here."""

from __future__ import annotations

import ctypes
import os
import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bitlm_core.errors import ResourceLimitError
from bitlm_core.layers.sizes import EXPLICIT_KEYS
from bitlm_core.models.config import GROUPS, ModelConfig, count_parameters, of_masked_network
from bitlm_core.models.patch_sizes import PatchSizes

# Of the memory that is free, how much one model may claim: the rest is for data, requests and everybody else.
SHARE_OF_FREE = 0.6
_SCORED_POSITIONS = 4096  # positions of one batch of windows, at most
_TABLE_BYTES, _FITTING_BYTES = 5 << 20, 112 << 20  # of entropies, and while they are counted
_ENTROPIES = 96  # bytes for each of the symbols that entropies and cuts are found of
_POOLED_AT_ONCE = 64  # patches; see `models.patch_lm`
_RUNTIME_BYTES = 64 << 20  # allocator slack and kernel workspaces
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3  # of malloc.h
_GLIBC_MAX_MMAP_THRESHOLD = 32 << 20  # where glibc's own adjustment ends
_FOR_EVER = 2**31 - 1


def estimate_memory_bytes(
    model: ModelConfig, *, batch_size: int, window_bytes: int, element_bytes: int, mixing_bytes: int
) -> int:
    """Upper estimate of the memory that an engine takes: weights, packed for decoding too, gradients, two moments,
    mixing tables, and activations.

    Activations of training or of scoring, whichever are more: the two never run at once. Without a network, tables alone.
    """
    if not model.has_network:
        return mixing_bytes + _RUNTIME_BYTES
    matrices = model.num_layers * (4 * model.d_model**2 + 2 * model.d_model * model.dim_feedforward)
    if model.patch is not None:  # all but its n-grams, about
        matrices = count_parameters(model.model_copy(update={"ngram_rows": 0, "diffusion": None}))
    weights = count_parameters(model) * (4 * 4 + 2) + matrices * (4 + 1)  # packed in fp32 and in int8
    if model.patch is not None:
        working = _patch_bytes(model, model.patch, batch_size, window_bytes, element_bytes)
    else:
        training = _training_bytes(model, batch_size, window_bytes * model.positions_per_byte, element_bytes)
        working = max(training, _scoring_bytes(model, element_bytes))
    return weights + working + mixing_bytes + _RUNTIME_BYTES


def _patch_bytes(model: ModelConfig, sizes: PatchSizes, batch_size: int, window_bytes: int, element_bytes: int) -> int:
    """Of a byte-latent network: what is above, over bytes in the small networks and over patches in the large one, what lies
    between them, and the entropies. Masked predictions of a network of its own may take more than all of that."""
    local = _local_network(model, sizes)
    patches, pairs = _most_patches(sizes, window_bytes), batch_size * window_bytes * _most_patches(sizes, window_bytes)
    between = 4 * (6 * sizes.slots + 2 * len(sizes.ngram_orders) + 8) * sizes.local_width + _ENTROPIES
    explicit = element_bytes == 2 and window_bytes <= EXPLICIT_KEYS
    training = _training_bytes(local, batch_size, window_bytes, element_bytes) + batch_size * window_bytes * between
    training += _training_bytes(model, batch_size, patches, element_bytes)
    training += pairs * (4 + (5 * sizes.local_heads + 1) * element_bytes if explicit else 8)  # the map of pooling
    if model.diffusion is not None:
        training = max(training, _training_bytes(of_masked_network(model), batch_size, window_bytes, element_bytes))
    positions = max(_SCORED_POSITIONS, model.max_bytes)
    scoring = _scoring_bytes(local, element_bytes) + _scoring_bytes(model, element_bytes)
    scoring += positions * (
        between + _POOLED_AT_ONCE * (4 + 4 * 5 * sizes.local_heads) + 2 * 4 * model.num_layers * model.d_model
    )
    fitting = _FITTING_BYTES if sizes.patching.reads_entropies else 0
    return _TABLE_BYTES + max(training, scoring, fitting)


def _local_network(model: ModelConfig, sizes: PatchSizes) -> ModelConfig:
    """The networks over bytes as if they were one."""
    return model.model_copy(
        update={
            "architecture": "byte",
            "patch": None,
            "diffusion": None,
            "act_threshold": None,
            "d_model": sizes.local_width,
            "nhead": sizes.local_heads,
            "dim_feedforward": 4 * sizes.local_width,
            "num_layers": sizes.encoder_layers + sizes.decoder_layers,
            "attention": "chunked",
            "chunk_size": sizes.local_chunk,
            "overlap": sizes.local_chunk,
        }
    )


def _most_patches(sizes: PatchSizes, window_bytes: int) -> int:
    """In a window, of data that is cut twice as often as what the threshold was chosen for; of no data is it more than one a
    byte."""
    patching = sizes.patching
    usual = patching.stride or (patching.mean_patch_size if patching.entropy_threshold is None else 1)
    mean = usual if patching.scheme == "fixed" else max(usual / 2, patching.min_patch_size)
    return min(window_bytes, int(window_bytes / mean) + 2)


def _training_bytes(model: ModelConfig, batch_size: int, positions: int, element_bytes: int) -> int:
    """What backward needs of each position: that of all blocks, or of one block and the streams that are kept between them."""
    d = model.d_model
    block = element_bytes * _kept_per_block(model, positions, element_bytes) + (4 * 8 * d if model.act_threshold else 0)
    streams = 2 * 4 * d
    if model.reversible:
        blocks = block + 3 * streams
    elif model.use_checkpoint:
        # Three blocks, not one: the allocator fits what comes and goes badly between the streams that stay.
        blocks = 3 * block + model.num_layers * (streams + (4 * (d + 2) if model.act_threshold else 0))
    else:
        blocks = model.num_layers * block
    outputs = 6 * 4 * 256 if model.architecture == "byte" else 6 * 4
    outputs += 4 * (len(GROUPS) + 3) * d if model.diffusion else 0  # rows of neighbours, in fp32
    ends = (6 + 2 * (model.dropout != 0)) * element_bytes * d + 3 * streams
    return batch_size * positions * (blocks + outputs + ends)


def _kept_per_block(model: ModelConfig, positions: int, element_bytes: int) -> int:
    """Elements per position: about 14 vectors of width d_model and 3 of dim_feedforward; three rows of the attention map per
    head, where bf16 makes it explicitly (the fused kernel of fp32 keeps none); dropout's mask and its result twice; and with
    chunks the keys and values beside each."""
    keys, beside = positions, 0
    if model.chunks:
        chunk, overlap = model.chunks
        keys = min(positions, chunk + overlap)
        beside = 3 * model.d_model * (chunk + overlap) // chunk
    heads = model.nhead * (2 if model.attention == "differential" else 1)
    maps = 3 * heads * keys if element_bytes == 2 and (model.chunks or keys <= EXPLICIT_KEYS) else 0
    dropped = 4 * model.d_model if model.dropout != 0 else 0
    return 14 * model.d_model + 3 * model.dim_feedforward + maps + dropped + beside


def _scoring_bytes(model: ModelConfig, element_bytes: int) -> int:
    """A forward pass of a batch of windows, of which one block is held at a time; and a decoder's cache and tree.

    The context mixer reads ahead in training's dtype: in bf16 with the maps of attention.
    """
    window = model.max_bytes * model.positions_per_byte
    positions = max(_SCORED_POSITIONS, window)
    keys = min(window, sum(model.chunks) if model.chunks else window)
    maps = 3 * 2 * model.nhead * keys if element_bytes == 2 and keys <= EXPLICIT_KEYS else 0
    outputs = 6 * 4 * 256 if model.architecture == "byte" else 6 * 4
    forward = positions * (4 * (14 * model.d_model + 3 * model.dim_feedforward) + maps + outputs)
    held = min(model.max_seq_len, sum(model.chunks) if model.chunks else model.max_seq_len) + 256
    return forward + held * (2 * 4 * model.num_layers * model.d_model + 3 * 4 * 256 * model.nhead)


def free_memory_bytes() -> int:
    """Memory that could be allocated now: MemAvailable where the system tells, else half of the physical memory."""
    meminfo = Path("/proc/meminfo")
    if meminfo.exists():
        for line in meminfo.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return int(line.split()[1]) * 1024
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2


def used_memory_bytes() -> int:
    """Memory that this process holds now; where the system does not tell (no /proc), the most that it ever held."""
    statm = Path("/proc/self/statm")
    if statm.exists():
        return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


@contextmanager
def keeping_freed_memory() -> Iterator[None]:
    """While it lasts, memory that tensors free stays with the process, for the next ones; afterwards it is given back.

    Otherwise the C library returns every large tensor to the system at once, and the pages of the next one are zeroed anew:
    in contexts of 128 k positions that took as long as the computing. Does nothing where the C library is not glibc.
    """
    libc = ctypes.CDLL(None)
    if not hasattr(libc, "mallopt") or not hasattr(libc, "malloc_trim"):
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _FOR_EVER)
    libc.mallopt(_M_TRIM_THRESHOLD, _FOR_EVER)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _GLIBC_MAX_MMAP_THRESHOLD)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _GLIBC_MAX_MMAP_THRESHOLD)
        libc.malloc_trim(0)


def usable_cores() -> int:
    """How many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def require_memory(estimate: int, what: str, *, free: int | None = None) -> None:
    """Raise ResourceLimitError when `estimate` bytes are more than the permitted share of what is free."""
    limit = int(SHARE_OF_FREE * (free_memory_bytes() if free is None else free))
    if estimate > limit:
        raise ResourceLimitError(
            f"{what} would need about {estimate / 2**20:,.0f} MiB, more than the limit of {limit / 2**20:,.0f} MiB "
            f"({SHARE_OF_FREE:.0%} of the free memory): choose a smaller preset, d_model, num_layers, max_seq_len "
            "or batch_size. Nothing was allocated",
            estimate=estimate,
            limit=limit,
        )
