"""Where the bytes of a call come from: a dataset, or the call itself."""

from __future__ import annotations

from bitlm_core import ByteData, bytes_in_memory
from bitlm_mcp.tools.parameters import base64_bytes, one_of, prompt_bytes, text_bytes
from bitlm_mcp.workspace import Workspace


def given_data(
    workspace: Workspace, dataset_id: str | None, text: str | None, data_base64: str | None, *, holdout: bool
) -> ByteData:
    """The one source that was given; of a dataset, the held-out part or the part to learn from."""
    name = one_of(dataset_id=dataset_id, text=text, data_base64=data_base64)
    if name == "dataset_id":
        part = workspace.datasets.holdout_part if holdout else workspace.datasets.train_part
        return part(dataset_id or "")
    given = text_bytes(name, text or "") if name == "text" else base64_bytes(name, data_base64 or "")
    return bytes_in_memory(given)


def given_long_input(
    workspace: Workspace,
    prompt: str | None,
    prompt_base64: str | None,
    prompt_bits: str | None,
    dataset_id: str | None,
) -> ByteData:
    """The one input of infer_long that was given; of a dataset, the held-out part."""
    name = one_of(prompt=prompt, prompt_base64=prompt_base64, prompt_bits=prompt_bits, dataset_id=dataset_id)
    if name == "dataset_id":
        return workspace.datasets.holdout_part(dataset_id or "")
    return bytes_in_memory(prompt_bytes(prompt, prompt_base64, prompt_bits))
