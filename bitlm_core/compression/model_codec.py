"""Compression with what a model knows: data as one stream, learned on while it is coded, or record by record.

A model's context mixer alone is integers, the same everywhere. Where a network takes part, its floats must come out the
same on both sides: both go byte by byte along one path, and a probe in the container tells whether this machine agrees.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Generator
from functools import partial

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.codec.records import record_spans
from bitlm_core.compression.container import DIGEST_BYTES, PROBE_BYTES, TrainedModel, crc_of
from bitlm_core.compression.lanes import MixerStream, Run, Stream, UndoneStream, encode_lanes
from bitlm_core.compression.record_index import pack_index
from bitlm_core.compression.self_contained import PROBE, check_lanes, check_size, fingerprint, smaller
from bitlm_core.errors import ConfigError, ContainerError
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder, integer_logits
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.models.interface import LanguageModel
from bitlm_core.steps import finished

_CRC = struct.Struct("<I")
_PROBED = 24  # bytes of the probe that a network reads
_RECORDS_PER_STEP = 64
_BYTES_BY_TORCH = 64  # at a time: byte by byte


class NetworkStream:
    """A network with or without a mixer: the same path of floats on both sides."""

    def __init__(self, predictor: Predictor) -> None:
        self.step_bytes = predictor.fused.burst if predictor.fused else _BYTES_BY_TORCH
        self.encode, self.decode = predictor.encode, predictor.decode


class ModelCodec:
    """A model as it is now; it must not learn while this is used. One thread at a time, but for lanes of mixers."""

    def __init__(self, model: LanguageModel | None, mixer: ContextMixer | None) -> None:
        """At least one of the two. Takes the digest of all there is: about a second for 500 MB."""
        self._open: Callable[[bool], Stream]
        if model is not None:
            self._open = partial(_network_stream, model, mixer)
        elif mixer is not None:
            self._open = partial(_mixer_stream, mixer)
        else:
            raise ConfigError("a codec needs a network or a context mixer to predict with: give one of them")
        self._model, self._mixer = model, mixer
        self._rehearsal: UndoneStream | None = None
        self.identity = TrainedModel(self._digest(), self._probe())

    @property
    def lane_mib(self) -> int:
        """MiB of tables that each lane has of its own."""
        return self._mixer.config.memory_mib if self._mixer else 0

    @property
    def exact(self) -> bool:
        """Whether all predictions are integers, so that whole codes always decode to the right bytes."""
        return self._model is None

    def compress_steps(self, data: NDArray[np.uint8], *, lanes: int = 1, run: Run = map) -> Generator[float, None, bytes]:
        """Compress as one stream (or as many as lanes), the mixer learning on a copy; yields the share done.

        Data that does not get smaller is stored as it is. Raises ConfigError or ResourceLimitError.
        """
        check_size(data)
        check_lanes(lanes)
        codes = yield from encode_lanes(data, self.streams(lanes), run)
        return smaller(data, "model", "whole", self.identity, codes)

    def compress_records_steps(self, data: NDArray[np.uint8], records: str) -> Generator[float, None, bytes]:
        """Compress so that each record (see `record_spans`) can be decoded on its own; what is learned within it is undone.

        Raises as `record_spans`, and ResourceLimitError.
        """
        check_size(data)
        spans = record_spans(data, records)
        ends = spans[:, 1]
        starts = np.concatenate([np.zeros(1, np.int64), ends])[:-1]
        if len(data) and not len(spans):  # a capture file without packets: its header alone
            return smaller(data, "stored", records, None, [data.tobytes()])
        codes = []
        for i, (start, end) in enumerate(zip(starts.tolist(), ends.tolist(), strict=True)):
            codes.append((yield from self.encode_record_steps(data[start:end])))
            if i % _RECORDS_PER_STEP == 0:
                yield end / len(data)
        index = pack_index(spans[:, 0] - starts, ends - spans[:, 0], codes)
        return smaller(data, "records", records, self.identity, [index, b"".join(codes)])

    def encode_record_steps(self, record: NDArray[np.uint8]) -> Generator[float, None, bytes]:
        """The code of one record, in whole bytes; the record itself where it does not get smaller."""
        stream, encoder = self._alone(len(record)), ByteEncoder()
        for start in range(0, len(record), stream.step_bytes):
            stream.encode(encoder, record[start : start + stream.step_bytes])
            if start + stream.step_bytes < len(record):
                yield start / len(record)
        code = encoder.finish()
        if not self.exact:
            code += _CRC.pack(crc_of(record))
        return code if len(code) < len(record) else record.tobytes()

    def encode_record(self, record: NDArray[np.uint8]) -> bytes:
        """As `encode_record_steps`, at once."""
        return finished(self.encode_record_steps(record))

    def decode_record_steps(self, code: memoryview, num_bytes: int) -> Generator[float, None, NDArray[np.uint8] | None]:
        """What `encode_record` coded; None when it is not that (where there is a network: else any code decodes)."""
        if len(code) == num_bytes:
            return np.frombuffer(code, np.uint8)
        crc = b""
        if not self.exact:
            code, crc = code[: -_CRC.size], bytes(code[-_CRC.size :])
        out, stream, decoder = np.zeros(num_bytes, np.uint8), self._alone(num_bytes), ByteDecoder(np.frombuffer(code, np.uint8))
        for start in range(0, num_bytes, stream.step_bytes):
            stream.decode(decoder, out[start : start + stream.step_bytes])
            if start + stream.step_bytes < num_bytes:
                yield start / num_bytes
        return out if self.exact or crc == _CRC.pack(crc_of(out)) else None

    def decode_record(self, code: memoryview, num_bytes: int) -> NDArray[np.uint8] | None:
        """As `decode_record_steps`, at once."""
        return finished(self.decode_record_steps(code, num_bytes))

    def _alone(self, num_bytes: int) -> Stream:
        """What predicts one record, and then is as it was: a mixer alone learns within it, a network and its mixer do not."""
        if self._model is not None or self._mixer is None:
            return self._open(False)
        if num_bytes > UndoneStream.step_bytes:
            return self._open(True)
        if self._rehearsal is None:
            self._rehearsal = UndoneStream(self._mixer)
        return self._rehearsal

    def streams(self, lanes: int) -> list[Stream]:
        """Predictors at the beginning of a stream each, learning on copies of the mixer."""
        return [self._open(True) for _ in range(lanes)]

    def check(self, coded_by: TrainedModel) -> None:
        """Raise ContainerError unless this is the model that coded, and predicts here what it predicted there."""
        if coded_by.digest != self.identity.digest:
            raise ContainerError(
                f"the data was compressed with another model or another state of it (digest {coded_by.digest.hex()}, this "
                f"one is {self.identity.digest.hex()}): give the checkpoint that it was compressed with",
                reason="model",
            )
        if coded_by.probe != self.identity.probe:
            raise ContainerError(
                "this machine computes the network's predictions otherwise than the one that compressed the data: "
                "decompress with the same version of torch, on the same kind of processor",
                reason="machine",
            )

    def _digest(self) -> bytes:
        digest = hashlib.sha256()
        if self._mixer is not None:
            mixer = self._mixer.frozen()
            mixer.start_document()  # where it stands is no part of what it knows
            digest.update(mixer.config.model_dump_json().encode() + fingerprint(mixer.config, mixer.profile))
            for name, array in sorted(mixer.own_arrays.items()):
                digest.update(f"{name} {array.dtype} {array.shape}".encode())
                digest.update(array.data)
        if self._model is not None:
            digest.update(self._model.config.model_dump_json().encode())
            for name, tensor in sorted(self._model.state_dict().items()):
                digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
                digest.update(tensor.detach().cpu().reshape(-1).view(torch.uint8).numpy().data)
        return digest.digest()[:DIGEST_BYTES]

    def _probe(self) -> bytes:
        if self._model is None:
            return b""
        digest, predictor = hashlib.sha256(), Predictor(self._model, self._mixer, adaptive=False)
        for byte in PROBE[:_PROBED]:
            digest.update(integer_logits(predictor.node_logits()).tobytes())
            predictor.advance(byte)
        return digest.digest()[:PROBE_BYTES]


def _network_stream(model: LanguageModel, mixer: ContextMixer | None, learn: bool) -> Stream:
    return NetworkStream(Predictor(model, mixer, adaptive=learn))


def _mixer_stream(mixer: ContextMixer, learn: bool) -> Stream:
    own = mixer.copy() if learn else mixer.frozen()
    own.start_document()
    return MixerStream(own, learn=learn)
