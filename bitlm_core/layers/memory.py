"""Keys and values of positions that were read before: what later positions may still see of them.

`KeyValueCache` is written in place, for reading position by position without gradients. `CarriedMemory` hands the end of one
segment of a long stream to the next one, in training too: what was carried is a constant, so the graph ends there
(Transformer-XL, arXiv 1901.02860).

B batch, H heads, D head width; keys and values [B, H, positions, D].
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Locality:
    """Attention in chunks of `chunk` positions: each sees its own chunk and the `overlap` positions before it.

    0 ≤ overlap ≤ chunk. Chunks are counted from the first position of the stream, so what a position sees depends on nothing
    but its place. Where nothing is causal it also sees the `overlap` positions after its chunk.
    """

    chunk: int
    overlap: int

    def first_seen(self, position: int) -> int:
        """The first position that `position` sees."""
        return max(0, position // self.chunk * self.chunk - self.overlap)

    def sees_all(self, num_positions: int, *, causal: bool) -> bool:
        """Whether in a sequence of that length nothing that attention could see is out of reach."""
        last_sees_first = self.first_seen(num_positions - 1) == 0
        return last_sees_first and (causal or num_positions <= self.chunk + self.overlap)


class Memory(ABC):
    """One layer's past: positions first … length − 1 of one stream."""

    first: int = 0
    length: int = 0

    @abstractmethod
    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of more positions; returns those from position `first` on, the new ones last."""

    @abstractmethod
    def reserve(self, num_positions: int) -> None:
        """Make room for so many more positions, after which `first` stays until they were appended."""


class KeyValueCache(Memory):
    """Room for `capacity` positions. With a locality, what no later position sees makes room for what comes."""

    def __init__(self, capacity: int, locality: Locality | None = None) -> None:
        self._capacity, self._locality = capacity, locality
        self._k = self._v = torch.empty(0)

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if not len(self._k):
            self._k = k.new_zeros(*k.shape[:2], self._capacity, k.shape[3])
            self._v = v.new_zeros(*v.shape[:2], self._capacity, v.shape[3])
        new, held = k.shape[2], self.length - self.first
        if held + new > self._capacity:
            return self._append_long(k, v)
        self._k[:, :, held : held + new] = k
        self._v[:, :, held : held + new] = v
        self.length += new
        return self._k[:, :, : held + new], self._v[:, :, : held + new]

    def reserve(self, num_positions: int) -> None:
        if self._locality is None or not self.length or self.length - self.first + num_positions <= self._capacity:
            return
        first, end = self._locality.first_seen(self.length), self.length - self.first
        for held in (self._k, self._v):
            held[:, :, : self.length - first] = held[:, :, first - self.first : end].clone()
        self.first = first

    def truncate(self, length: int) -> None:
        """Forget the positions from `length` on."""
        self.length = length

    def _append_long(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        """More than fits at once: all is returned, and what later positions can see is kept."""
        if self._locality is None:
            raise AssertionError(f"{self.length} + {k.shape[2]} positions do not fit into a cache of {self._capacity}")
        held = self.length - self.first
        k, v = torch.cat([self._k[:, :, :held], k], dim=2), torch.cat([self._v[:, :, :held], v], dim=2)
        end = self.first + k.shape[2]
        first = self._locality.first_seen(end)
        self._k[:, :, : end - first] = k[:, :, first - self.first :]
        self._v[:, :, : end - first] = v[:, :, first - self.first :]
        self.first, self.length = first, end
        return k, v


class CarriedMemory(Memory):
    """What one segment of a stream leaves for the next.

    Appending changes nothing that is seen until `commit`, so a layer may be computed again in between (as reversible and
    checkpointed stacks do).
    """

    def __init__(self, locality: Locality) -> None:
        self._locality = locality
        self.past: tuple[Tensor, Tensor] | None = None
        self._next: tuple[Tensor, Tensor] | None = None

    def reserve(self, num_positions: int) -> None:
        """Nothing to do: a segment may have any length."""

    def append(self, k: Tensor, v: Tensor) -> tuple[Tensor, Tensor]:
        if self.past is not None:
            k, v = (torch.cat([past.to(new.dtype), new], dim=2) for past, new in zip(self.past, (k, v), strict=True))
        keep = self.first + k.shape[2] - self._locality.first_seen(self.first + k.shape[2])
        self._next = (k[:, :, k.shape[2] - keep :].detach(), v[:, :, v.shape[2] - keep :].detach())
        return k, v

    def restore(self, past: tuple[Tensor, Tensor] | None, length: int) -> None:
        """Take back `past` as it was after `length` positions."""
        self.past, self.length, self.first = past, length, self._locality.first_seen(length)

    def commit(self, num_positions: int) -> None:
        """The segment of `num_positions` is over: what it appended is the past now."""
        if self._next is None:
            raise AssertionError("a segment must be read before it is the past")
        self.length += num_positions
        self.first = self._locality.first_seen(self.length)
        # Copied: a view would keep the whole segment alive.
        self.past, self._next = (self._next[0].clone(), self._next[1].clone()), None
