"""Compression with a model: as one stream, and record by record, each decodable alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from bitlm_core import Engine, preset_config
from bitlm_core.compression.container import DecoderLimits
from bitlm_core.compression.decompress import container_info, decompress_record, decompress_steps
from bitlm_core.compression.model_codec import ModelCodec
from bitlm_core.errors import CodecError, ConfigError, ContainerError, ResourceLimitError
from bitlm_core.kernels.decode_layout import Network
from bitlm_core.mixing import fused
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.build import build_model
from bitlm_core.models.byte_lm import ByteLM
from bitlm_core.models.packed_stack import Weights
from tests.conftest import run
from tests.core.compression.samples import CAPTURE, LINES, PACKETS, RECORDS, array, codec, mixer, noise
from tests.core.compression.test_self_contained import compressed


def stream(data: bytes, by: ModelCodec, **options: int) -> bytes:
    return run(by.compress_steps(array(data), **options))


def by_record(data: bytes, records: str, by: ModelCodec) -> bytes:
    return run(by.compress_records_steps(array(data), records))


def whole(container: bytes, by: ModelCodec | None) -> bytes:
    return run(decompress_steps(container, by)).tobytes()


def test_a_model_knows_more_than_nothing() -> None:
    container = stream(LINES, codec())
    assert whole(container, codec()) == LINES
    assert len(container) < 0.7 * len(compressed(LINES))
    assert container_info(container).mode == "model" and container_info(container).needs_model


def test_lanes_start_from_the_same_state() -> None:
    container = stream(LINES, codec(), lanes=3)
    assert container_info(container).lanes == 3
    assert whole(container, codec()) == LINES
    with pytest.raises(ResourceLimitError, match="24 MiB"):
        run(decompress_steps(container, codec(), limits=DecoderLimits(len(LINES), 23)))


def test_records_decode_alone_and_all() -> None:
    container = by_record(LINES, "lines", codec())
    assert whole(container, codec()) == LINES
    for record in (0, 7, 39):
        assert decompress_record(container, codec(), record) == RECORDS[80 + record]
    assert len(container) < 0.5 * len(LINES)
    for record in (-1, 40, 1 << 70):
        with pytest.raises(ConfigError, match="no record"):
            decompress_record(container, codec(), record)


@pytest.mark.parametrize("records", ["whole", "fixed:1", "pcap"])
def test_every_form_of_records(records: str) -> None:
    data = CAPTURE if records == "pcap" else LINES[:90]
    container = by_record(data, records, codec())
    assert whole(container, codec() if container_info(container).needs_model else None) == data
    expected = {"whole": data, "fixed:1": data[:1], "pcap": PACKETS[0]}[records]
    assert decompress_record(container, codec(), 0) == expected
    if records == "pcap":
        assert [decompress_record(container, codec(), i) for i in range(20)] == PACKETS


def test_records_learn_within_themselves_and_leave_nothing_behind() -> None:
    """The order of coding does not matter, nor how long a record is; a copy that learns gives the same code."""
    own, long = ModelCodec(None, mixer()), array(LINES * 6)
    first = [own.encode_record(array(record)) for record in RECORDS[80:90]]
    code = own.encode_record(long)
    assert [own.encode_record(array(record)) for record in RECORDS[80:90]] == first
    learning = mixer().copy()
    learning.start_document()
    assert learning.encode(long) == code and len(code) < 0.3 * len(own.encode_record(long[: len(LINES)])) * 6
    decoded = own.decode_record(memoryview(code), len(long))
    assert decoded is not None and decoded.tobytes() == long.tobytes()


def test_records_that_do_not_get_smaller_are_stored_and_still_found() -> None:
    data = noise(2000, 3)
    container = by_record(data, "fixed:100", codec())
    assert container_info(container).mode == "stored" and len(container) <= len(data) + 64
    assert whole(container, None) == data
    assert decompress_record(container, None, 4) == data[400:500]
    with pytest.raises(ConfigError, match="no record 20"):
        decompress_record(container, None, 20)
    for edge in (b"", CAPTURE[:24]):
        container = by_record(edge, "pcap" if edge else "lines", codec())
        assert whole(container, None) == edge and len(container) <= len(edge) + 64


def test_data_that_is_not_of_the_form_is_refused() -> None:
    with pytest.raises(CodecError):
        by_record(LINES, "pcap", codec())
    with pytest.raises(ConfigError):
        by_record(LINES, "words", codec())


def test_nothing_changes_in_the_model() -> None:
    before, identity = mixer().state_arrays(), codec().identity
    stream(LINES, codec())
    container = by_record(LINES, "lines", codec())
    decompress_record(container, codec(), 3)
    assert all(np.array_equal(before[name], array) for name, array in mixer().state_arrays().items())
    assert ModelCodec(None, mixer()).identity == identity


@pytest.mark.parametrize("architecture", ["byte", "patch"])
def test_numbers_without_a_dimension_are_part_of_the_digest(architecture: str) -> None:
    """Of halting units, and of the model that says where patches start."""
    sizes = {"d_model": 32, "nhead": 1, "num_layers": 1, "max_seq_len": 64, "act_threshold": 0.5}
    model = build_model(preset_config("tiny", architecture, **sizes))  # type: ignore[arg-type]
    data, before = LINES[:200], ModelCodec(model, None)
    assert whole(stream(data, before), ModelCodec(model, None)) == data
    numbers = [tensor for tensor in model.state_dict().values() if not tensor.ndim and tensor.is_floating_point()]
    for number in numbers:
        number += 0.25
        after = ModelCodec(model, None)
        assert after.identity.digest != before.identity.digest
        before = after
    assert len(numbers) == 1 + (architecture == "patch")


def test_the_digest_is_of_what_is_known_not_of_where_it_stands() -> None:
    moved = mixer().copy()
    moved.read(array(LINES), learn=False)
    assert ModelCodec(None, moved).identity == codec().identity
    moved.read(array(b"x"))
    assert ModelCodec(None, moved).identity != codec().identity


@pytest.mark.parametrize("records", [False, True])
def test_another_model_or_none_is_refused(records: bool) -> None:
    container = by_record(LINES, "lines", codec()) if records else stream(LINES, codec())
    other = ModelCodec(None, ContextMixer(mixer().config))
    with pytest.raises(ContainerError, match="another model") as caught:
        whole(container, other)
    assert caught.value.reason == "model"
    with pytest.raises(ConfigError, match="give the checkpoint"):
        whole(container, None)


def test_damaged_records_are_seen_also_when_read_alone() -> None:
    container = by_record(LINES, "lines", codec())
    for at in range(len(container)):
        bad = bytearray(container)
        bad[at] ^= 0x20
        with pytest.raises(ContainerError):
            decompress_record(bytes(bad), codec(), 20)


def test_a_codec_needs_something() -> None:
    with pytest.raises(ConfigError, match="network or a context mixer"):
        ModelCodec(None, None)


@pytest.mark.parametrize("mixing", [True, False])
def test_with_a_network(trained: Engine, text: bytes, mixing: bool) -> None:
    own = ModelCodec(trained.model, trained.mixer if mixing else None)
    data = text[200_000:200_120]
    container = stream(data, own)
    assert whole(container, own) == data and container_info(container).mode == "model"
    lines = data[:30] + b"\n" + data[30:60] + b"\n"
    container = by_record(lines, "lines", own)
    assert whole(container, own) == lines
    if container_info(container).mode == "records":
        assert decompress_record(container, own, 1) == data[30:60] + b"\n"


def test_a_machine_that_computes_otherwise_is_refused(trained: Engine, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    other = ModelCodec(trained.model, trained.mixer)
    container = stream(text[200_000:200_060], other)
    decoder = type(trained.model.open_decoder(torch.zeros(0, dtype=torch.int64)))
    nodes = decoder.node_logits
    monkeypatch.setattr(decoder, "node_logits", lambda self: nodes(self) * (1 + 2e-3))
    packed = fused.packed

    def otherwise(model: ByteLM, weights: Weights) -> Network:
        network = packed(model, weights)
        return network._replace(head=network.head * np.float32(1 + 2e-3))

    monkeypatch.setattr(fused, "packed", otherwise)
    with pytest.raises(ContainerError, match="this machine") as caught:
        whole(container, ModelCodec(trained.model, trained.mixer))
    assert caught.value.reason == "machine"
    with pytest.raises(ContainerError, match="not what was compressed"):  # a probe that did not notice: the CRC does
        whole(container, other)
