"""Networks over bytes as the decoding kernels read them: weights packed once per version, and memories of streams."""

from __future__ import annotations

import weakref

import torch

from bitlm_core.errors import ModelStateError
from bitlm_core.kernels.decode_layout import ROWS, Network, Patches, PatchNetwork, PatchRoom, PatchStreams, Room, Streams
from bitlm_core.layers.memory import Locality
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.packed_patches import open_patch_streams, pack_patches, patch_room, restart_patches
from bitlm_core.models.packed_stack import Weights, open_stack, pack_stack, stack_room
from bitlm_core.models.patch_lm import PatchLM

Packable = ByteLM | PatchLM
AnyNetwork = Network | PatchNetwork
AnyStreams = Streams | PatchStreams

_packed: weakref.WeakKeyDictionary[LanguageModel, dict[Weights, tuple[object, AnyNetwork]]] = weakref.WeakKeyDictionary()


def can_be_packed(model: LanguageModel) -> bool:
    """Whether the decoding kernels compute what this model computes: bytes or patches, on the CPU, in single precision."""
    return isinstance(model, Packable) and model.device.type == "cpu" and model.compute_dtype == torch.float32


def own_weights(model: LanguageModel) -> Weights:
    """What the kernels run a network on, unless they are told otherwise: a quantised one on its integers."""
    return "int8" if model.config.quantized else "float32"


def packed(model: Packable, weights: Weights) -> AnyNetwork:
    """The network's arrays; the same ones until a weight changes. Raises ModelStateError where a weight is not finite."""
    tensors = [*model.parameters(), *model.buffers()]
    version = tuple((tensor.data_ptr(), tensor._version) for tensor in tensors), model.config
    held = _packed.setdefault(model, {})
    if weights not in held or held[weights][0] != version:
        held[weights] = version, _pack(model, weights)
    return held[weights][1]


@torch.no_grad()
def _pack(model: Packable, weights: Weights) -> AnyNetwork:
    if not all(bool(parameter.isfinite().all()) for parameter in model.parameters()):
        raise ModelStateError(
            "the network has weights that are not finite, it has diverged: load an earlier checkpoint and train it with a "
            "smaller rate"
        )
    if isinstance(model, PatchLM):
        return pack_patches(model, weights)
    return pack_stack(model.stack, weights, embedding=model.embedding, ngrams=model.ngram_embedding, head=model.head.weight)


def open_streams(model: Packable, net: AnyNetwork, count: int, locality: Locality | None) -> tuple[AnyNetwork, AnyStreams]:
    """Memories of `count` streams before their first symbol; and the network as it sees with that locality.

    Raises ConfigError for a locality of a model that carries nothing on.
    """
    if isinstance(model, PatchLM):
        if locality is not None:
            model.carrying(locality.chunk, locality.overlap)
        assert isinstance(net, PatchNetwork)  # noqa: S101
        return open_patch_streams(model, net, count)
    assert isinstance(net, Network)  # noqa: S101
    return open_stack(model.stack, net, count, model.config.max_seq_len, start=model.start_symbol, locality=locality)


def open_room(net: AnyNetwork, streams: AnyStreams, num_rows: int = ROWS) -> Room | PatchRoom:
    """Scratch for so many rows."""
    if isinstance(net, PatchNetwork):
        assert isinstance(streams, PatchStreams)  # noqa: S101
        return patch_room(net, streams, num_rows)
    return stack_room(net, num_rows)


def apart(net: AnyNetwork, streams: AnyStreams, room: Room | PatchRoom) -> tuple[Network, Streams, Room, Patches | None]:
    """As the loops take them: of the stack that predicts, and the rest."""
    if isinstance(net, PatchNetwork):
        assert isinstance(streams, PatchStreams) and isinstance(room, PatchRoom)  # noqa: S101
        rest = Patches(
            net.encoder,
            streams.encoder,
            net.middle,
            streams.middle,
            net.between,
            streams.opened,
            room.large,
            room.ended,
            room.scores,
        )
        return net.last, streams.last, room.last, rest
    assert isinstance(streams, Streams) and isinstance(room, Room)  # noqa: S101
    return net, streams, room, None


def restart(streams: AnyStreams, stream: int, start: int) -> None:
    """Let a stream stand before its first symbol; `start` comes before that."""
    if isinstance(streams, PatchStreams):
        restart_patches(streams, stream)
    over_bytes = streams.encoder if isinstance(streams, PatchStreams) else streams
    over_bytes.lengths[stream] = 0
    over_bytes.symbols[stream] = start


def weight_bytes(net: AnyNetwork) -> int:
    """Of all matrices."""
    stacks = (net.encoder, net.middle, net.last) if isinstance(net, PatchNetwork) else (net,)
    return sum(stack.wide.nbytes + stack.narrow.nbytes for stack in stacks)
