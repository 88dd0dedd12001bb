"""`diffusion_sample`: fill the gaps of a template by masked diffusion, window by window.

Whatever is longer than the model's window is filled in several: each begins half a window before the first byte that is
still to be filled, so what was filled before it is known to it, and what is known on its right as far as it reaches.
Parity is computed from the data bits at the end, never drawn, unless the sampling says otherwise.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from bitlm_core.codec.bits import bytes_to_bits
from bitlm_core.errors import ConfigError
from bitlm_core.generation.denoising import Canvas, flip_steps, likeliest_canvas_steps, mask_steps, num_passes
from bitlm_core.generation.diffusion_sampling import DiffusionSampling
from bitlm_core.generation.filling import Filling, FillingState
from bitlm_core.generation.template import KNOWN, Template
from bitlm_core.generation.utf8_gaps import Utf8Gaps
from bitlm_core.models.interface import LanguageModel


def filling_steps(
    model: LanguageModel, template: Template, sampling: DiffusionSampling
) -> Generator[FillingState, None, Filling]:
    """Fill a template; yields how it stands after each pass of the network, and returns it filled.

    Raises ConfigError for parity='read' of a network that reads out none, and for constraint='utf8' where no filling is valid.
    """
    if sampling.parity == "read" and not model.predicts_parity:
        raise ConfigError("parity='read' needs a network that reads out parity bits: use architecture='bit' or 'compute'")
    data, known = template.whole
    gaps = Utf8Gaps(data, known) if sampling.constraint == "utf8" else None
    canvas, generator = Canvas.of(data, known), torch.Generator().manual_seed(sampling.seed)
    shown = slice(len(template.prefix), len(template.prefix) + len(template.data))
    windows = list(_windows(known, model.config.max_bytes))
    total = sum(num_passes(sampling, num_open) for _, _, num_open in windows)
    state = FillingState(0.0, _bytes(canvas.data[shown]), template.known)
    revealed_at, done, rehidden = np.zeros(len(template.data), np.int64), 0, 0
    for start, end, _ in windows:
        text = (gaps, _bytes(canvas.data[:start])) if gaps else None
        for hidden_again in _passes(model, canvas.part(start, end), sampling, generator, text):
            done, rehidden = done + 1, rehidden + hidden_again
            before, state = state, FillingState(done / total, _bytes(canvas.data[shown]), _bytes(canvas.known[shown]))
            revealed_at[state.settled_since(before)] = done
            yield state
    was_open = canvas.given != KNOWN
    drawn = _bytes(canvas.data[was_open])
    ninth_bits, wrong = _ninth_bits(drawn, canvas.ninth[was_open] if model.predicts_parity else None, sampling)
    return Filling(
        _bytes(canvas.data[shown]),
        -float(canvas.log_prob[was_open].sum()) / (math.log(2) * len(drawn)),
        int(wrong.sum()) if sampling.parity == "compute" else 0,
        drawn=drawn,
        ninth_bits=ninth_bits,
        steps=done,
        windows=len(windows),
        rehidden=rehidden,
        order=None if sampling.method == "flip" else sampling.order_used,
        revealed_at=tuple(revealed_at.tolist()),
        parity_places=tuple((np.flatnonzero(was_open.numpy())[wrong] - shown.start).tolist()),
    )


def _passes(
    model: LanguageModel,
    part: Canvas,
    sampling: DiffusionSampling,
    generator: torch.Generator,
    text: tuple[Utf8Gaps, bytes] | None,
) -> Iterator[int]:
    """Fill a window in the way that is asked for; yields after each pass how many bytes it hid again."""
    if sampling.method == "flip":
        return flip_steps(model, part, sampling, generator)
    if sampling.is_search and num_passes(sampling, part.num_open) == part.num_open:
        return likeliest_canvas_steps(model, part)
    return mask_steps(model, part, sampling, generator, text)


def _windows(known: bytes, size: int) -> Iterator[tuple[int, int, int]]:
    """Where windows begin and end, and how many bytes are filled in each: all that no window before has filled."""
    end = 0
    for place, mask in enumerate(known):
        if mask != KNOWN and place >= end:
            start = max(0, min(place - size // 2, len(known) - size))
            end = min(len(known), start + size)
            yield start, end, end - place - known[place:end].count(KNOWN)


def _ninth_bits(drawn: bytes, read: torch.Tensor | None, sampling: DiffusionSampling) -> tuple[bytes, NDArray[np.bool_]]:
    """One per byte, as `sampling` wants them, and [drawn] True where the network read out another than adds up."""
    computed = bytes_to_bits(drawn).reshape(-1, 9)[:, 8]
    found = computed if read is None else read.numpy().astype(np.uint8)
    return (found if sampling.parity == "read" else computed).tobytes(), found != computed


def _bytes(values: torch.Tensor) -> bytes:
    return values.numpy().astype(np.uint8).tobytes()
