"""Where the bytes of a call come from: a dataset, or the call itself, where they may have come compressed."""

from __future__ import annotations

from dataclasses import replace

import bitlm_core
from bitlm_core import ConfigError, GeneralName
from bitlm_mcp.operations.data import Source
from bitlm_mcp.tools.parameters import base64_bytes, one_of, prompt_bytes, text_bytes
from bitlm_mcp.tools.waiting import off_loop

MAX_UNPACKED = 1 << 26
"""Bytes that compressed data of one call may hold."""


def given_data(dataset_id: str | None, text: str | None, data_base64: str | None) -> Source:
    """The one source that was given."""
    name = one_of(dataset_id=dataset_id, text=text, data_base64=data_base64)
    if name == "dataset_id":
        return Source(dataset_id=dataset_id)
    return Source(content=text_bytes(name, text or "") if name == "text" else base64_bytes(name, data_base64 or ""))


def given_container(job_id: str | None, dataset_id: str | None, data_base64: str | None) -> Source:
    """The one source of compressed data that was given."""
    name = one_of(job_id=job_id, dataset_id=dataset_id, data_base64=data_base64)
    if name == "data_base64":
        return Source(content=base64_bytes(name, data_base64 or ""))
    return Source(dataset_id=dataset_id, output_of=job_id)


def given_long_input(prompt: str | None, prompt_base64: str | None, prompt_bits: str | None, dataset_id: str | None) -> Source:
    """The one input of infer_long that was given."""
    name = one_of(prompt=prompt, prompt_base64=prompt_base64, prompt_bits=prompt_bits, dataset_id=dataset_id)
    if name == "dataset_id":
        return Source(dataset_id=dataset_id)
    return Source(content=prompt_bytes(prompt, prompt_base64, prompt_bits))


async def unpacked(source: Source, codec: GeneralName | None, given: str | None) -> Source:
    """The source with the bytes of the call decompressed, where `codec` says that they are compressed.

    given: the base64 that they came as. Raises ConfigError for anything else, and CodecError for what is damaged: nothing
    learns from, or looks at, what was not sent.
    """
    if codec is None:
        return source
    if given is None or source.content is None:
        raise ConfigError(
            f"compress_input={codec!r} says what the data was compressed with, which only base64 can be: give that, or leave "
            "compress_input out"
        )
    sent = source.content
    steps = bitlm_core.general_codec(codec).decode_steps(sent, MAX_UNPACKED)
    content = await off_loop(bitlm_core.finished, steps)
    if not content:
        raise ConfigError(f"the {codec} data holds 0 bytes: give at least 1 byte, compressed")
    return replace(source, content=content, codec=codec, sent_bytes=len(sent))
