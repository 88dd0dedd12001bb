"""Coding with a mixer: what was predicted is what it costs, and decoding gives it back, bit for bit and state for state."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.coding import PIECE, ByteDecoder, ByteEncoder, new_trace
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from tests.core.mixing.test_mixer import SMALL, TEXT, bits_per_byte, changed, random_bytes


def array(coded: bytes) -> NDArray[np.uint8]:
    return np.frombuffer(coded, np.uint8)


@pytest.mark.parametrize("learn", [True, False])
@pytest.mark.parametrize("size", [0, 1, 3, 500, PIECE + 100])
def test_identity_at_the_predicted_cost(learn: bool, size: int) -> None:
    data = np.concatenate([TEXT, random_bytes(PIECE + 100, 1)])[:size]
    encoder, decoder, reader = ContextMixer(SMALL), ContextMixer(SMALL), ContextMixer(SMALL)
    for mixer in (encoder, decoder, reader):
        mixer.read(TEXT[:300])
        mixer.start_document()
    coded = encoder.encode(data, learn=learn)
    np.testing.assert_array_equal(decoder.decode(array(coded), size, learn=learn), data)
    cost = size and bits_per_byte(reader.read(data, learn=learn), data) * size
    assert 8 * len(coded) < 1.00001 * cost + 8.1
    state = reader.state_arrays()
    assert changed(state, encoder) == set() and changed(state, decoder) == set()


def test_an_expert_is_used_as_read_uses_it() -> None:
    expert = np.where(np.unpackbits(TEXT[:, None], axis=1) == 1, 5, -5).astype(np.float32)
    coded = ContextMixer(SMALL).encode(TEXT, expert)
    cost = bits_per_byte(ContextMixer(SMALL).read(TEXT, expert), TEXT) * TEXT.size
    assert cost - 0.1 < 8 * len(coded) < cost + 8.1
    assert len(coded) < len(ContextMixer(SMALL).encode(TEXT)) / 2


def test_nodes_code_as_the_mixer_does() -> None:
    """The same coder driven byte by byte with node logits: the way of predictors that are not only a mixer."""
    mixer, encoder = ContextMixer(SMALL), ByteEncoder()
    for byte in TEXT[:60]:
        encoder.node(mixer.node_logits(), int(byte))
        mixer.read(np.array([byte]))
    coded = encoder.finish()
    assert coded == ContextMixer(SMALL).encode(TEXT[:60])
    mixer, decoder = ContextMixer(SMALL), ByteDecoder(array(coded))
    for byte in TEXT[:60]:
        assert decoder.node(mixer.node_logits()) == byte
        mixer.read(np.array([byte]))


def test_a_damaged_code_decodes_to_something_and_leaves_a_sound_mixer() -> None:
    coded = array(ContextMixer(SMALL).encode(TEXT)).copy()
    for at in range(0, coded.size, 9):
        bad = coded.copy()
        bad[at] ^= 0x10
        mixer = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096))
        assert mixer.decode(bad, TEXT.size).shape == TEXT.shape
        mixer.load_state_arrays(mixer.state_arrays())  # checks every index


@pytest.mark.parametrize("data", [np.zeros(4, np.int64), np.zeros((2, 2), np.uint8), b"abc"])
def test_wrong_data_is_refused(data: object) -> None:
    for call in (ContextMixer(SMALL).encode, lambda given: ContextMixer(SMALL).decode(given, 1)):
        with pytest.raises(ConfigError, match="uint8"):
            call(data)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [0, 1, 60, 700, 6000])
def test_what_was_learned_while_coding_is_undone_exactly(size: int) -> None:
    """Slots that made room for others, a history ring that went round, matches, and what decoding damage has learned."""
    kept = ContextMixer(MixingConfig(memory_mib=8, history_bytes=4096))
    kept.read(np.concatenate([TEXT, random_bytes(9000, 5), TEXT]))
    state, own = kept.state_arrays(), kept.copy()
    data = np.concatenate([TEXT, random_bytes(6000, 6)])[:size]
    for _ in range(2):
        trace, encoder = new_trace(size), ByteEncoder()
        own.encode_into(encoder, data, trace=trace)
        assert size < 60 or len(changed(state, own)) > 8
        own.undo(kept, trace)
        assert changed(state, own) == set()
        out, coded = np.zeros(size, np.uint8), array(encoder.finish()).copy()
        coded[1::40] ^= 1
        trace = new_trace(size)
        own.decode_into(out, ByteDecoder(coded), trace=trace)
        own.undo(kept, trace)
        assert changed(state, own) == set() and changed(state, kept) == set()
