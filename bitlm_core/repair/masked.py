"""What masked diffusion says of damaged bytes: it sees both sides at once, and so names other candidates than the left one."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.generation.template import HIDDEN, KNOWN
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import byte_log_probs


@torch.no_grad()
def masked_log_probs(model: LanguageModel, data: NDArray[np.uint8], places: NDArray[np.int64]) -> NDArray[np.float64]:
    """[places, 256] ln p of the bytes at some places near each other, all of them hidden, in a window around them.

    Places beyond the window have no preference.
    """
    size = model.config.max_bytes
    middle = (int(places[0]) + int(places[-1])) // 2
    start = max(0, min(middle - size // 2, len(data) - size))
    window = torch.from_numpy(data[start : start + size].astype(np.int64))[None]
    inside = (places >= start) & (places < start + size)
    known = torch.full(window.shape, KNOWN)
    known[0, torch.from_numpy(places[inside] - start)] = HIDDEN
    nodes = model.predict_masked(window, known).nodes[0].cpu()[known[0] == HIDDEN]
    found = np.full((len(places), 256), -np.log(256))
    found[inside] = byte_log_probs(nodes).double().numpy()
    return found
