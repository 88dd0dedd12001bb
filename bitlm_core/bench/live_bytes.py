"""How many bytes of tensors are alive, counted and not sampled: the same on every machine, no allocator involved."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, every storage that an operation makes is counted until it dies.

    What was alive before is not counted, views of it included: make weights first. A sparse tensor counts as its indices
    and values.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: set[int] = set()
        self._ages: dict[int, int] = {}
        self._events: list[tuple[int, int]] = []

    def peak(self, without: Iterable[torch.Tensor] = ()) -> int:
        """The most bytes alive at once, leaving out the storages of some tensors that are still alive."""
        left_out = {self._ages.get(storage._cdata) for storage in _storages(list(without))}
        live = peak = 0
        for age, size in self._events:
            if age not in left_out:
                live += size
                peak = max(peak, live)
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        for storage in _storages((args, kwargs)):
            self._count(storage, 0)  # unknown until now, so it was there before
        result = func(*args, **(kwargs or {}))
        for storage in _storages(result):
            self._count(storage, storage.nbytes())
        return result

    def _count(self, storage: torch.UntypedStorage, size: int) -> None:
        address = storage._cdata
        if address in self._known:
            return
        age = len(self._events)  # an address is used again, an age is not
        self._known.add(address)
        self._ages[address] = age
        self._events.append((age, size))
        weakref.finalize(storage, self._forget, address, age, size)

    def _forget(self, address: int, age: int, size: int) -> None:
        self._known.discard(address)
        self._events.append((age, -size))


def _storages(values: Any) -> Iterator[torch.UntypedStorage]:
    """Of all tensors in nested values."""
    for value in tree_leaves(values):
        if isinstance(value, torch.Tensor):
            parts = (value._indices(), value._values()) if value.layout is torch.sparse_coo else (value,)
            yield from (part.untyped_storage() for part in parts)
