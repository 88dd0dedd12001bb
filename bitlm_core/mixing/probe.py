"""What a mixer that reads alone predicts on average: for telemetry, where there is no network to ask."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.models.output import byte_log_probs

PROBE_BYTES = 256
"""For how many bytes the whole distribution is asked: each costs several times what reading it does."""


def read_probed(
    mixer: ContextMixer, data: NDArray[np.uint8], *, learn: bool
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """As `ContextMixer.read`: the logits [N, 8], and the mean [256] of the distributions predicted for the last bytes.

    data: [N], not empty.
    """
    start = max(0, len(data) - PROBE_BYTES)
    parts, nodes = [mixer.read(data[:start], learn=learn)], []
    for place in range(start, len(data)):
        nodes.append(mixer.node_logits())
        parts.append(mixer.read(data[place : place + 1], learn=learn))
    predicted = byte_log_probs(torch.from_numpy(np.stack(nodes))).double().exp()
    return np.concatenate(parts), predicted.mean(dim=0).numpy()
