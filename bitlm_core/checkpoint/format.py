"""One checkpoint as one safetensors file: named tensors and one JSON header. No pickle, no code.

Everything random is a function of (seed, step), so the header's step restores the random state too.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from bitlm_core.checkpoint.header import KEY, VERSION, header_of, readable
from bitlm_core.durable import require_space


def write_file(path: Path, tensors: dict[str, Tensor], header: dict[str, Any]) -> None:
    """Write tensors (copied to contiguous memory) and header; equal content gives equal bytes.

    Raises ResourceLimitError before anything is written when the disk has no room, OSError when it refuses.
    """
    require_space(path.parent, sum(tensor.nbytes for tensor in tensors.values()), "the checkpoint")
    text = json.dumps({"version": VERSION, **header}, sort_keys=True, allow_nan=False)
    try:
        save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, path, metadata={KEY: text})
    except SafetensorError as error:  # how the library reports a full disk
        raise OSError(str(error)) from error


def read_file(path: Path, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and header of the checkpoint called `name`; raises as `header.read_header`."""
    with readable(name), safe_open(path, framework="pt") as file:
        header = header_of(file.metadata(), name)
        return {key: file.get_tensor(key) for key in file.keys()}, header  # noqa: SIM118 - not a dict
