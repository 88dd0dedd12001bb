"""One window filled by masked diffusion: hidden bytes are drawn side by side, some are revealed, and so on until all are known.

    predict all hidden bytes ─→ draw each ─→ reveal those that come first in the order ─┐
        ↑                                                                              │
        └────────── hide the least likely of those revealed again (remasking) ←─────────┘

T bytes of the window.
"""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass

import torch
from torch import Tensor

from bitlm_core.diffusion.schedule import hidden_counts
from bitlm_core.generation.diffusion_sampling import DEFAULT_REMASK, DiffusionSampling, Order
from bitlm_core.generation.likeliest import likeliest_steps
from bitlm_core.generation.template import KNOWN
from bitlm_core.generation.utf8_gaps import Utf8Gaps
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import conditioned_log_probs, path_bits, path_logits, path_nats
from bitlm_core.steps import finished

NOISE = 4.0
"""Scale of the Gumbel noise that order `annealed` begins with, on log-probabilities in nats."""


@dataclass(frozen=True)
class Canvas:
    """Bytes being filled, all int64 [T] but `log_prob`, and changed in place: a part of a canvas is a view.

    known: the bits known at present; given: those known when the filling began; log_prob: of a byte when it was last
    revealed; ninth: the parity bit as the network reads it out, where it does.
    """

    data: Tensor
    known: Tensor
    given: Tensor
    log_prob: Tensor
    ninth: Tensor

    @classmethod
    def of(cls, data: bytes, known: bytes) -> Canvas:
        """A canvas of which nothing is filled yet."""
        masks = torch.tensor(list(known))
        start = torch.tensor(list(data)) & masks
        return cls(start, masks, masks.clone(), torch.zeros(len(data), dtype=torch.float64), torch.zeros_like(start))

    def part(self, start: int, end: int) -> Canvas:
        """A window; what is known at its beginning is given to it."""
        data, known, log_prob, ninth = (of[start:end] for of in (self.data, self.known, self.log_prob, self.ninth))
        return Canvas(data, known, known.clone(), log_prob, ninth)

    @property
    def hidden(self) -> Tensor:
        """[T] True where not all bits are known."""
        return self.known != KNOWN

    @property
    def num_open(self) -> int:
        """Bytes that were not known whole to begin with."""
        return int((self.given != KNOWN).sum())


def num_passes(sampling: DiffusionSampling, num_open: int) -> int:
    """How many passes of the network a window with so many bytes to fill takes."""
    return sampling.steps if sampling.method == "flip" else min(sampling.steps, num_open)


@torch.no_grad()
def mask_steps(
    model: LanguageModel,
    canvas: Canvas,
    sampling: DiffusionSampling,
    generator: torch.Generator,
    utf8: tuple[Utf8Gaps, bytes] | None,
) -> Generator[int]:
    """Fill a window, revealing at least one byte per pass; yields after each the number of bytes hidden again before it.

    utf8: what the whole template leaves open, and all bytes before the window.
    """
    passes = num_passes(sampling, canvas.num_open)
    remask = DEFAULT_REMASK if sampling.remask is None else sampling.remask
    for step, left in enumerate(hidden_counts(sampling.schedule, passes, canvas.num_open)):
        fading = 1 - step / passes
        rehidden = _hide_again(canvas, remask * fading)
        hidden = canvas.hidden
        prediction = model.predict_masked(canvas.data[None], canvas.known[None])
        log_probs = conditioned_log_probs(prediction.nodes[0].cpu()[hidden].double(), canvas.data[hidden], canvas.known[hidden])
        drawn = _draw(log_probs, canvas, sampling, generator, utf8)
        log_prob = log_probs.gather(1, drawn[:, None]).squeeze(1)
        index = (torch.cumsum(canvas.given != KNOWN, dim=0) - 1)[hidden]
        rank = _rank(log_prob, index, passes, sampling.order_used, fading, generator)
        first = rank.topk(len(rank) - left).indices
        places = hidden.nonzero().squeeze(1)[first]
        canvas.data[places], canvas.known[places], canvas.log_prob[places] = drawn[first], KNOWN, log_prob[first]
        if prediction.parity is not None:
            canvas.ninth[places] = (prediction.parity[0].cpu()[places] > 0).long()
        yield rehidden


def likeliest_canvas_steps(model: LanguageModel, canvas: Canvas) -> Generator[int]:
    """Fill a window with what most likely stood there, see `likeliest`: at once after a pass per byte; yields 0 for each."""
    steps = likeliest_steps(model, canvas.data[None], canvas.known[None])
    for _ in range(canvas.num_open - 1):
        next(steps)
        yield 0
    found = finished(steps)
    places = found.places[0]
    canvas.data[places], canvas.known[places], canvas.log_prob[places] = found.bytes[0], KNOWN, found.prob[0].log()
    if found.first.parity is not None:
        canvas.ninth[places] = (found.first.parity[0].cpu()[places] > 0).long()
    yield 0


def _hide_again(canvas: Canvas, share: float) -> int:
    """Hide the given share of the bytes revealed so far, the least likely ones. Returns how many."""
    revealed = ((canvas.given != KNOWN) & ~canvas.hidden).nonzero().squeeze(1)
    worst = canvas.log_prob[revealed].topk(int(share * len(revealed)), largest=False).indices
    places = revealed[worst]
    canvas.known[places] = canvas.given[places]
    return len(places)


def _draw(
    log_probs: Tensor,
    canvas: Canvas,
    sampling: DiffusionSampling,
    generator: torch.Generator,
    utf8: tuple[Utf8Gaps, bytes] | None,
) -> Tensor:
    """A byte for each hidden place."""
    sharp = sampling.temperature == 0
    below = log_probs - log_probs.amax(dim=1, keepdim=True)  # first, so that the likeliest survives any temperature
    scaled = log_probs if sharp else (below / sampling.temperature).log_softmax(dim=1)
    if utf8 is not None:
        gaps, before = utf8
        numbers = None if sharp else torch.rand(len(scaled), generator=generator).double().numpy()
        return torch.from_numpy(gaps.draw(before, canvas.hidden.numpy(), canvas.data.numpy(), scaled.numpy(), numbers))
    return scaled.argmax(dim=1) if sharp else torch.multinomial(scaled.exp(), 1, generator=generator).squeeze(1)


def _rank(log_prob: Tensor, index: Tensor, passes: int, order: Order, fading: float, generator: torch.Generator) -> Tensor:
    """The higher, the earlier revealed. index: of each hidden byte among all that are to be filled."""
    number = torch.rand(len(log_prob), generator=generator).double()
    if order == "spread":
        return number - index % passes
    if order == "random":
        return number
    noise = -torch.log(-torch.log(number.clamp(min=1e-12)))
    return log_prob if order == "confidence" else log_prob + NOISE * fading * noise


@torch.no_grad()
def flip_steps(model: LanguageModel, canvas: Canvas, sampling: DiffusionSampling, generator: torch.Generator) -> Generator[int]:
    """Fill a window with random bits; each pass draws a falling share of them anew from what the network makes of all."""
    bits_T8, open_T8 = path_bits(canvas.data), path_bits(canvas.given) == 0
    bits_T8 = torch.where(open_T8, torch.randint(0, 2, bits_T8.shape, generator=generator), bits_T8)
    canvas.known.fill_(KNOWN)
    for share in (count / sampling.steps for count in range(sampling.steps, 0, -1)):
        canvas.data.copy_(_bytes_of(bits_T8))
        prediction = model.predict_masked(canvas.data[None], canvas.known[None])
        nodes = prediction.nodes[0].cpu()
        logits_T8 = path_logits(nodes, canvas.data).double()
        noise = torch.rand(bits_T8.shape, generator=generator).double().logit(eps=1e-12) * sampling.temperature
        chosen = open_T8 & (torch.rand(bits_T8.shape, generator=generator) < share)
        bits_T8 = torch.where(chosen, (logits_T8 > noise).long(), bits_T8)
        canvas.data.copy_(_bytes_of(bits_T8))
        canvas.log_prob.copy_(-path_nats(path_logits(nodes, canvas.data), canvas.data))
        if prediction.parity is not None:
            canvas.ninth.copy_((prediction.parity[0].cpu() > 0).long())
        yield 0


def _bytes_of(bits_T8: Tensor) -> Tensor:
    return (bits_T8 << torch.arange(7, -1, -1)).sum(dim=1)
