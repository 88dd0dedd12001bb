"""Where the bytes of a call come from: a dataset, or the call itself."""

from __future__ import annotations

from bitlm_mcp.operations.data import Source
from bitlm_mcp.tools.parameters import base64_bytes, one_of, prompt_bytes, text_bytes


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
