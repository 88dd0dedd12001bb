"""How many processes a machine has places for."""

from __future__ import annotations

import os
from typing import Literal

import torch


def most_processes(device: Literal["auto", "cpu", "cuda"]) -> tuple[int, str]:
    """How many processes may train on this machine, and what each of them needs one of: GPUs, or CPU cores."""
    if device == "cuda" or (device == "auto" and torch.cuda.is_available()):
        return torch.cuda.device_count(), "GPUs"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1  # macOS has none
    return cores, "CPU cores"
