"""How many bytes of tensors are alive, counted and not sampled: the same on every machine, no allocator involved."""

from __future__ import annotations

import weakref
from collections.abc import Iterable
from typing import Any

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """While it is entered, every storage that an operation makes is counted until it dies.

    What was alive before is not counted: make weights first.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._known: set[int] = set()
        self._ages: dict[int, int] = {}
        self._events: list[tuple[int, int]] = []

    def peak(self, without: Iterable[torch.Tensor] = ()) -> int:
        """The most bytes alive at once, leaving out the storages of some tensors that are still alive."""
        left_out = {self._ages.get(tensor.untyped_storage()._cdata) for tensor in without}
        live = peak = 0
        for age, size in self._events:
            if age not in left_out:
                live += size
                peak = max(peak, live)
        return peak

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        for value in tree_leaves(result):
            if isinstance(value, torch.Tensor):
                self._count(value.untyped_storage())
        return result

    def _count(self, storage: torch.UntypedStorage) -> None:
        address, size = storage._cdata, storage.nbytes()
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
