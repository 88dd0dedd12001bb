"""A stream read byte by byte: the network and the context mixer together, over streams of any length.

This is what generation and compression drive. It sees the same windows as bulk scoring (`windows`), so that both give the
same probabilities.
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.layers.memory import Locality
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.windows import window_start
from bitlm_core.models.interface import Decoder, LanguageModel
from bitlm_core.models.output import path_logits


class Predictor:
    """Starts before the first byte of a new stream. With a `locality` nothing is read twice: keys and values are carried
    (see `LanguageModel.carrying`); without, windows overlap by half.

    `adaptive`: the mixer's statistics learn from the bytes read (online), on a copy that dies with the predictor; else
    everything is frozen (static). The network never learns here.
    """

    def __init__(
        self, model: LanguageModel | None, mixer: ContextMixer | None, *, adaptive: bool, locality: Locality | None = None
    ) -> None:
        """One of `model` and `mixer` may be None."""
        self._model, self._locality = model, locality
        self._decoder: Decoder | None = None
        self._mixer = (mixer.copy() if adaptive else mixer.frozen()) if mixer else None
        if self._mixer:
            self._mixer.start_document()
        self._adaptive = adaptive
        self._read = bytearray()
        self._nodes: NDArray[np.float32] | None = None
        self._open_window(0)

    @torch.no_grad()
    def node_logits(self) -> NDArray[np.float32]:
        """[256] logits of the byte tree for the next byte (see `models.output`)."""
        nodes = self._network_nodes()
        if self._mixer:
            return self._mixer.node_logits(nodes, learn=self._adaptive)
        assert nodes is not None  # noqa: S101 - without a mixer there is a network
        return nodes

    @torch.no_grad()
    def advance(self, byte: int) -> None:
        """Read one byte."""
        if self._mixer:
            nodes = self._network_nodes() if self._adaptive else None
            expert = None if nodes is None else path_logits(torch.from_numpy(nodes), torch.tensor(byte))[None].numpy()
            self._mixer.read(np.array([byte], np.uint8), expert, learn=self._adaptive)
        if self._decoder is None:
            return
        self._read.append(byte)
        start = self._window_start()
        if start != self._start:
            self._open_window(start)
        else:
            self._decoder.append(byte)
            self._nodes = None

    @torch.no_grad()
    def read(self, data: bytes) -> None:
        """Read many bytes at once; the same state as `advance` byte by byte, but for rounding."""
        if self._mixer and not self._model:
            self._mixer.read(np.frombuffer(data, np.uint8), learn=self._adaptive)
            return
        if self._adaptive:
            for byte in data:
                self.advance(byte)
            return
        if self._mixer:
            self._mixer.read(np.frombuffer(data, np.uint8), learn=False)
        self._read += data
        self._open_window(self._window_start())

    def _window_start(self) -> int:
        return 0 if self._locality or not self._model else window_start(len(self._read), self._model.config.max_bytes)

    def _open_window(self, start: int) -> None:
        self._start, self._nodes = start, None
        if self._model:
            window = np.frombuffer(bytes(self._read[start:]), np.uint8).astype(np.int64)
            with torch.no_grad():
                self._decoder = self._model.open_decoder(torch.from_numpy(window), locality=self._locality)

    def _network_nodes(self) -> NDArray[np.float32] | None:
        """None where there is no network."""
        if self._nodes is None and self._decoder:
            self._nodes = self._decoder.node_logits().cpu().numpy()
        return self._nodes
