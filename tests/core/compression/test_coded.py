"""Coding by name: bitlm's own codec among the others, and bytes as they are where a codec fails."""

from __future__ import annotations

import math
from typing import get_args

import numpy as np
import pytest

from bitlm_core.compression import codecs
from bitlm_core.compression.codecs import CodecName, GeneralName
from bitlm_core.compression.coded import code_or_raw_steps, code_steps, decode_steps
from bitlm_core.errors import CodecError, ConfigError, ContainerError, ResourceLimitError
from bitlm_core.steps import finished
from tests.core.compression.samples import LINES, array, codec

SHORT = LINES[:300]


@pytest.mark.parametrize("name", get_args(CodecName))
def test_what_is_coded_comes_back_with_its_ratio(name):
    made = finished(code_steps(name, array(SHORT)))
    assert (made.codec, made.num_bytes, made.warning) == (name, 300, "")
    assert made.ratio == len(made.data) / 300
    assert 0 < made.seconds < 60
    data, seconds = finished(decode_steps(name, made.data, max_bytes=300))
    assert data == SHORT and 0 < seconds < 60
    with pytest.raises(ResourceLimitError) as caught:
        finished(decode_steps(name, made.data, max_bytes=299))
    assert caught.value.limit == 299
    with pytest.raises(CodecError):
        finished(decode_steps(name, made.data[:-1], max_bytes=300))


def test_the_names_are_the_general_ones_and_one_more():
    assert set(get_args(CodecName)) == {"model", *get_args(GeneralName)}


def test_a_model_codes_what_only_it_decodes():
    own = codec()
    made = finished(code_steps("model", array(SHORT), own))
    assert len(made.data) < len(finished(code_steps("model", array(SHORT))).data)
    assert finished(decode_steps("model", made.data, max_bytes=300, model=own))[0] == SHORT
    with pytest.raises(ConfigError, match="give the checkpoint"):
        finished(decode_steps("model", made.data, max_bytes=300))


def test_a_failing_codec_leaves_the_bytes_as_they_are_and_says_so(monkeypatch):
    assert finished(code_or_raw_steps("zstd", array(SHORT))).codec == "zstd"
    monkeypatch.setattr(codecs, "_zstandard", None)
    made = finished(code_or_raw_steps("zstd", array(SHORT)))
    assert (made.codec, made.data, made.num_bytes, made.ratio) == ("raw", SHORT, 300, 1.0)
    assert made.warning.startswith("codec zstd failed, so the bytes are not compressed: ")
    with pytest.raises(ConfigError, match="zstandard"):
        finished(code_steps("zstd", array(SHORT)))


def test_memory_that_is_not_there_is_a_failure_too(monkeypatch):
    def none(_size):
        raise MemoryError

    monkeypatch.setattr(codecs.lzma, "LZMACompressor", lambda: none(0))
    assert finished(code_or_raw_steps("lzma", array(SHORT))).warning.endswith("MemoryError")


def test_nothing_has_no_ratio():
    made = finished(code_steps("zlib", np.zeros(0, np.uint8)))
    assert made.num_bytes == 0 and math.isnan(made.ratio)
    assert math.isnan(finished(code_or_raw_steps("nothing", np.zeros(0, np.uint8))).ratio)


def test_what_another_codec_made_is_refused():
    made = finished(code_steps("zlib", array(SHORT)))
    with pytest.raises(ContainerError, match="not made by"):
        finished(decode_steps("model", made.data, max_bytes=300))
