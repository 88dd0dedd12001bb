"""How many processes a machine has places for."""

from __future__ import annotations

from typing import Literal

import torch

from bitlm_core.device import usable_cores


def most_processes(device: Literal["auto", "cpu", "cuda"]) -> tuple[int, str]:
    """How many processes may train on this machine, and what each of them needs one of: GPUs, or CPU cores."""
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.device_count(), "GPUs"
    return usable_cores(), "CPU cores"
