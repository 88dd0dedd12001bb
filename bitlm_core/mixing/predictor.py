"""A stream read byte by byte: the network and the context mixer together, over streams of any length.

This is what generation and compression drive. It sees the same windows as bulk scoring (`windows`), so that both give the
same probabilities. The network runs in the compiled kernels where they can compute it, else in PyTorch: `engine` says which.
"""

from __future__ import annotations

from typing import Literal, cast

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.kernels.mixing_layout import Memory
from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import window_start
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import path_logits
from bitlm_core.models.packed import Packable, can_be_packed
from bitlm_core.models.packed_stack import AnyWeights

Running = Literal["fused", "torch", "none"]
"""What runs the network: the compiled kernels, PyTorch, or nothing where there is none."""


class Predictor:
    """Starts before the first byte of a new stream. With a `locality` nothing is read twice: keys and values are carried
    (see `LanguageModel.carrying`); without, windows overlap by half.

    `adaptive`: the mixer's statistics learn from the bytes read (online), on a copy that dies with the predictor; else
    everything is frozen (static). The network never learns here. One of `model` and `mixer` may be None. `running`: PyTorch or
    the kernels, instead of the kernels where they can. Raises ConfigError where they cannot run the model or these weights.
    """

    def __init__(
        self,
        model: LanguageModel | None,
        mixer: ContextMixer | None,
        *,
        adaptive: bool,
        locality: Locality | None = None,
        weights: AnyWeights = None,
        running: Literal["fused", "torch"] | None = None,
    ) -> None:
        self.fused: FusedStreams | None = None
        self._network: FusedStreams | TorchStream | None = None
        self._mixer = (mixer.copy() if adaptive else mixer.frozen()) if mixer else None
        if self._mixer:
            self._mixer.start_document()
        self._adaptive = adaptive and mixer is not None
        if model is None:
            self.engine: Running = "none"
        elif running == "fused" or (running is None and can_be_packed(model)):
            check_fused(model)
            self.engine = "fused"
            self._network = self.fused = FusedStreams(cast(Packable, model), weights=weights, locality=locality)
        elif weights == "int8":
            raise ConfigError(f"weights={weights!r} needs the compiled kernels, which do not run this model: use float32")
        else:
            self.engine, self._network = "torch", TorchStream(model, locality)

    @property
    def memory(self) -> Memory | None:
        """The mixer's arrays, not copied."""
        return Memory(**self._mixer.own_arrays) if self._mixer else None

    def node_logits(self) -> NDArray[np.float32]:
        """[256] logits of the byte tree for the next byte (see `models.output`)."""
        nodes = self._network.node_logits() if self._network else None
        if self._mixer:
            return self._mixer.node_logits(nodes, learn=self._adaptive)
        assert nodes is not None  # noqa: S101 - without a mixer there is a network
        return nodes

    def advance(self, byte: int) -> None:
        """Read one byte."""
        if self._mixer:
            nodes = self._network.node_logits() if self._network and self._adaptive else None
            expert = None if nodes is None else path_logits(torch.from_numpy(nodes), torch.tensor(byte))[None].numpy()
            self._mixer.read(np.array([byte], np.uint8), expert, learn=self._adaptive)
        if self._network:
            self._network.read(bytes([byte]))

    def read(self, data: bytes) -> None:
        """Read many bytes at once; the same state as `advance` byte by byte (in PyTorch, but for rounding)."""
        if self.engine == "torch" and self._adaptive:
            for byte in data:
                self.advance(byte)
            return
        expert = self.fused.path_logits(data) if self.fused and self._adaptive else None
        if self._mixer:
            self._mixer.read(np.frombuffer(data, np.uint8), expert, learn=self._adaptive)
        if self._network and expert is None:
            self._network.read(data)

    def encode(self, encoder: ByteEncoder, data: NDArray[np.uint8]) -> None:
        """Code the next bytes [N] with what is predicted, and read them."""
        if self.fused:
            self.fused.encode(encoder, data.tobytes(), self.memory, learn=self._adaptive)
            return
        for byte in data.tolist():
            encoder.node(self.node_logits(), byte)
            self.advance(byte)

    def decode(self, decoder: ByteDecoder, out: NDArray[np.uint8]) -> None:
        """Decode into out [N] the bytes that `encode` coded from the same state, and read them.

        Any code decodes to something: whether it is right, only a check sum can tell.
        """
        if self.fused:
            self.fused.decode(decoder, out, self.memory, learn=self._adaptive)
            return
        for i in range(len(out)):
            out[i] = decoder.node(self.node_logits())
            self.advance(int(out[i]))


def check_fused(model: LanguageModel | None) -> None:
    """Raise ConfigError for a model that the compiled kernels cannot run, or none."""
    if model is None:
        raise ConfigError("architecture='mix' has no network that the compiled kernels could run: use architecture='byte'")
    if not can_be_packed(model):
        raise ConfigError(
            f"the compiled kernels run byte and patch models in float32 on the CPU, and this is architecture="
            f"{model.config.architecture!r} in {model.compute_dtype} on {model.device}: use running='torch'"
        )


class TorchStream:
    """The network alone, in PyTorch, window by window."""

    def __init__(self, model: LanguageModel, locality: Locality | None) -> None:
        self._model, self._locality = model, locality
        self._read = bytearray()
        self._nodes: NDArray[np.float32] | None = None
        self._open_window(0)

    def node_logits(self) -> NDArray[np.float32]:
        """[256] logits of the byte tree for the next byte."""
        if self._nodes is None:
            with torch.no_grad():
                self._nodes = self._decoder.node_logits().cpu().numpy()
        return self._nodes

    @torch.no_grad()
    def read(self, data: bytes) -> None:
        """Read more bytes: many at once are read as one, from the window that predicts what comes then."""
        self._read += data
        start = 0 if self._locality else window_start(len(self._read), self._model.config.max_bytes)
        if start != self._start or len(data) > 1:
            self._open_window(start)
        elif data:
            self._decoder.append(data[0])
            self._nodes = None

    @torch.no_grad()
    def _open_window(self, start: int) -> None:
        self._start = start
        window = np.frombuffer(bytes(self._read[start:]), np.uint8).astype(np.int64)
        self._decoder = self._model.open_decoder(torch.from_numpy(window), locality=self._locality)
        self._nodes = None
