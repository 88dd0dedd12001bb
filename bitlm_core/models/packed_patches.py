"""A byte-latent network as the decoding kernels read it: three stacks, and what stands between them.

S streams, W width of the streams over bytes, M width of the patches, O symbols that an open patch may have.
"""

from __future__ import annotations

import numpy as np
import torch

from bitlm_core.kernels import decode_layout as layout
from bitlm_core.kernels import patch_rules
from bitlm_core.kernels.byte_entropy import empty_tables
from bitlm_core.kernels.decode_layout import Between, Opened, PatchNetwork, PatchRoom, PatchStreams
from bitlm_core.models.packed_stack import Weights, floats, open_stack, pack_stack, stack_room
from bitlm_core.models.patch_lm import PatchLM
from bitlm_core.patching.boundaries import rules_of


def pack_patches(model: PatchLM, weights: Weights) -> PatchNetwork:
    """The network's arrays. The tables of the entropy model are its own, to be read only."""
    pooling, reading, memory, sizes = model.pooling, model.reading, model.memory, model.sizes
    of_middle = [torch.cat([pooling.out.weight, pooling.last.weight], dim=1), reading.key_value.weight]
    if memory is not None:
        of_middle += [memory.sum_up.weight, memory.gate.weight, memory.read.weight]
    numbers = np.zeros(layout.NUM_BETWEEN, np.int64)
    numbers[layout.SHOWN], numbers[layout.SPAN] = sizes.slots, 0 if memory is None else memory.span
    numbers[layout.READS], numbers[layout.RESETS] = sizes.patching.reads_entropies, model.entropy.resets
    numbers[layout.SHIFT] = model.entropy.shift
    return PatchNetwork(
        encoder=pack_stack(
            model.encoder,
            weights,
            embedding=model.embedding,
            ngrams=model.ngram_embedding,
            beside=[pooling.key_value.weight, pooling.query.weight],
        ),
        middle=pack_stack(model.stack, weights, beside=of_middle),
        last=pack_stack(model.decoder, weights, head=model.head.weight, beside=[reading.query.weight, reading.out.weight]),
        between=Between(
            sizes=numbers,
            keeps=np.zeros(0, np.float32) if memory is None else floats(memory.decay.double().sigmoid().float()),
            rules=rules_of(sizes.patching, model.entropy.threshold),
            entropies=model.entropy.tables() if sizes.patching.reads_entropies else empty_tables(1),
        ),
    )


def open_patch_streams(model: PatchLM, net: PatchNetwork, count: int) -> tuple[PatchNetwork, PatchStreams]:
    """Memories of `count` streams before their first symbol; and the network as it sees."""
    start, width, d_model = model.start_symbol, model.sizes.local_width, model.config.d_model
    window, longest = model.config.max_seq_len, model.sizes.patching.max_patch_size
    nets, stacks = zip(
        *(
            open_stack(stack, packed, count, window, start=start)
            for stack, packed in zip(model.stacks, (net.encoder, net.middle, net.last), strict=True)
        ),
        strict=True,
    )
    state = np.zeros((count, patch_rules.NUM_STATE))
    state[:, patch_rules.NEXT] = 1.0
    summed, held, told = (np.zeros((count, d_model if model.memory is not None else 0), np.float32) for _ in range(3))
    streams = PatchStreams(
        encoder=stacks[0],
        middle=stacks[1],
        last=stacks[2],
        opened=Opened(
            keys=np.zeros((count, longest, width), np.float32),
            values=np.zeros((count, longest, width), np.float32),
            shown=np.zeros((count, 2 * model.sizes.slots * width), np.float32),
            counts=np.zeros((count, 2), np.int64),
            rules=state,
            recent=np.zeros((count, 2), np.int64),
            summed=summed,
            held=held,
            told=told,
        ),
    )
    return net._replace(encoder=nets[0], middle=nets[1], last=nets[2]), streams


def patch_room(net: PatchNetwork, streams: PatchStreams, num_rows: int) -> PatchRoom:
    """Scratch for so many rows of bytes."""
    return PatchRoom(
        last=stack_room(net.last, num_rows),
        large=stack_room(net.middle, num_rows),
        ended=np.full(num_rows, -1, np.int64),
        scores=np.zeros(max(streams.opened.keys.shape[1], int(net.between.sizes[layout.SHOWN])), np.float32),
    )


def restart_patches(streams: PatchStreams, stream: int) -> None:
    """A stream of which nothing was read. What is overwritten before it is read may stay."""
    for stack in (streams.encoder, streams.middle, streams.last):
        stack.lengths[stream] = 0
    opened = streams.opened
    for held in (opened.counts, opened.rules, opened.recent, opened.summed, opened.held, opened.told):
        held[stream] = 0
    opened.rules[stream, patch_rules.NEXT] = 1.0
