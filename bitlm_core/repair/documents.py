"""Where the documents of data that is repaired begin and end: what stands in one explains nothing in another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.mixer import ContextMixer

ONE = np.zeros(0, np.int64)
"""The starts of one document alone."""


@dataclass(frozen=True)
class Documents:
    """starts: of the second and later documents, ascending; size: of all of them. Raises ConfigError for other starts."""

    starts: NDArray[np.int64]
    size: int

    def __post_init__(self) -> None:
        bounds = np.concatenate([[0], self.starts, [max(1, self.size)]])
        if (np.diff(bounds) < 1).any():
            raise ConfigError(f"document_starts must ascend within the {self.size:,} bytes of the data: give each place once")

    @property
    def spans(self) -> NDArray[np.int64]:
        """[D, 2] begin and end of each."""
        return np.stack([np.concatenate([[0], self.starts]), np.concatenate([self.starts, [self.size]])], axis=1)

    def begin(self, place: int) -> int:
        """Of the document in which the byte at `place` is."""
        number = int(np.searchsorted(self.starts, place, side="right"))
        return int(self.starts[number - 1]) if number else 0

    def end(self, place: int) -> int:
        """Of the same document: the place after its last byte."""
        number = int(np.searchsorted(self.starts, place, side="right"))
        return int(self.starts[number]) if number < len(self.starts) else self.size

    def pieces(self, begin: int, end: int) -> Iterator[tuple[int, int]]:
        """[begin, end), cut where documents end."""
        while begin < end:
            cut = min(end, self.end(begin))
            yield begin, cut
            begin = cut

    def read(self, mixer: ContextMixer, data: NDArray[np.uint8], begin: int, end: int, *, learn: bool) -> None:
        """Let a mixer that stands at `begin` read on to `end`, where it starts a document if one begins there."""
        for start, cut in self.pieces(begin, end):
            mixer.read(data[start:cut], learn=learn)
            if cut < self.size and self.begin(cut) == cut:
                mixer.start_document()

    def stand_at(self, mixer: ContextMixer, data: NDArray[np.uint8], place: int) -> None:
        """Let a mixer stand in the data, having learned nothing on the way."""
        mixer.start_document()
        mixer.read(data[self.begin(place) : place], learn=False)
