"""A forward pass over compressed bits is the one over the bits: bit for bit, for every architecture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import (
    CodecError,
    ConfigError,
    ParityError,
    SequenceTooLongError,
    bytes_to_bits,
    forward_compressed,
    preset_config,
)
from bitlm_core.codec.runlength import compress_bits, compress_rows
from bitlm_core.errors import RunLengthError
from bitlm_core.models.build import build_model
from bitlm_core.models.interface import LanguageModel

FORMS: dict[str, dict[str, Any]] = {
    "byte": {"max_seq_len": 48},
    "bit": {"max_seq_len": 48 * 9},
    "patch": {"max_seq_len": 48, "local_width": 32, "encoder_layers": 1, "decoder_layers": 1},
}


@pytest.fixture(scope="module", params=FORMS)
def model(request: pytest.FixtureRequest) -> LanguageModel:
    sizes = {"d_model": 32, "nhead": 1, "num_layers": 1, "dropout": 0.0, **FORMS[request.param]}
    made = build_model(preset_config("tiny", request.param, **sizes), 2).eval()
    with torch.no_grad():
        for parameter in made.parameters():  # so that predictions differ from place to place
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    made.prepare(np.frombuffer(b"what is said again and again" * 8, np.uint8))
    return made


@pytest.mark.parametrize("parity", ["even", "none"])
def test_it_equals_the_raw_path(model: LanguageModel, parity: Any) -> None:
    rows = [bytes(20) + b"abcdefghij", bytes(range(30)), bytes(30)]
    streams = compress_rows(np.stack([bytes_to_bits(row, parity=parity) for row in rows]))
    found = forward_compressed(model, streams, parity=parity)
    data = torch.tensor([list(row) for row in rows])
    with torch.no_grad():
        assert torch.equal(found.path_logits, model.path_logits(data)) and found.path_logits.std() > 0
    assert torch.equal(found.data, data)
    width = 8 if parity == "none" else 9
    assert found.ratio == 8 * sum(map(len, streams)) / (90 * width)
    alone = forward_compressed(model, streams[2].tobytes(), parity=parity)
    with torch.no_grad():
        assert torch.equal(alone.path_logits, model.path_logits(data[2:])) and alone.ratio < 0.4


def test_what_cannot_be_read_is_refused(model: LanguageModel) -> None:
    stream = compress_bits(bytes_to_bits(b"0123456789"))
    damaged = stream.copy()
    damaged[-1] ^= 4
    with pytest.raises(RunLengthError) as found:
        forward_compressed(model, damaged)
    assert found.value.offset < len(stream)
    with pytest.raises(CodecError, match="row 1"):
        forward_compressed(model, [stream, compress_bits(bytes_to_bits(b"01"))])
    with pytest.raises(ParityError):
        forward_compressed(model, compress_bits(np.ones(9, np.uint8)))
    for empty in ([], compress_bits(np.zeros(0, np.uint8))):
        with pytest.raises(ConfigError, match="no bits"):
            forward_compressed(model, empty)
    with pytest.raises(SequenceTooLongError, match="infer_long") as long:
        forward_compressed(model, compress_bits(bytes_to_bits(bytes(49))))
    assert (long.value.length, long.value.limit) == (49 * model.positions_per_byte, 48 * model.positions_per_byte)


def test_without_a_network_there_is_no_forward_pass() -> None:
    with pytest.raises(ConfigError, match="architecture='mix' has no network"):
        forward_compressed(None, compress_bits(bytes_to_bits(b"a")))
