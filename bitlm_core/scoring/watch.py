"""A watch over records that come one by one, for as long as they come: what follows a log.

    normal records ─→ context mixer ─→ what is usual ┐
    a record ───────────────────────────────────────┴─→ how odd it is, and which of its bytes; learned unless suspicious

Nothing but context mixing, which is integers and fast; `streaming` says what is suspicious, `anomaly` what is odd. Records that
are all there already are scored by `score`, with a network if wanted. Memory does not grow with the records.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.profile import profile_of
from bitlm_core.scoring.anomaly import Reference
from bitlm_core.scoring.records import Costs
from bitlm_core.scoring.streaming import Judged, Streaming
from bitlm_core.scoring.surprise import byte_surprise

HELD_BACK = 5
"""One of so many normal records is held back as the reference."""
WATCHING = MixingConfig(memory_mib=32)


class Watch:
    """Has learned records that are taken for normal, and judges those that come after them. For one thread at a time."""

    def __init__(self, normal: Sequence[bytes], config: MixingConfig = WATCHING, seed: int = 0) -> None:
        """seed: of the order in which the normal records are learned. Raises ConfigError for fewer than five of them."""
        records = [np.frombuffer(record, np.uint8) for record in normal]
        check_normal(records)
        mixer = ContextMixer(config, profile_of(np.concatenate(records), rows=False))
        reference, known = learn_normal(mixer, records, seed)
        self._streaming = Streaming(mixer, reference, reference.peaks(known))

    @property
    def num_learned(self) -> int:
        """Records that were learned after the normal ones."""
        return self._streaming.num_learned

    def judge(self, record: bytes) -> Judged:
        """How odd a record is beside normal ones; it is learned then, unless it is suspicious."""
        return self._streaming.read([(np.frombuffer(record, np.uint8), None)])


def check_normal(normal: Sequence[NDArray[np.uint8]]) -> None:
    """Raise ConfigError for too few records to tell what is normal."""
    if len(normal) < HELD_BACK:
        raise ConfigError(f"there are {len(normal)} normal records to learn, at least {HELD_BACK} are needed: give more")


def learn_normal(mixer: ContextMixer, normal: Sequence[NDArray[np.uint8]], seed: int) -> tuple[Reference, Costs]:
    """Let the mixer learn all of the records; what is usual in those held back, and what the others cost when they came.

    The latter are those of the second half: by then the mixer had learned what it could from the first.
    """
    order = np.random.default_rng(seed)
    cut = len(normal) - len(normal) // HELD_BACK
    early = [record_costs(mixer, normal[index], learn=True) for index in order.permutation(cut)]
    reference = Reference.of(Costs.of(record_costs(mixer, record, learn=False) for record in normal[cut:]))
    for index in cut + order.permutation(len(normal) - cut):
        record_costs(mixer, normal[index], learn=True)
    return reference, Costs.of(early[len(early) // 2 :])


def record_costs(mixer: ContextMixer, record: NDArray[np.uint8], *, learn: bool) -> NDArray[np.float32]:
    """[N] bits of a record's bytes, as a document of its own."""
    mixer.start_document()
    return byte_surprise(mixer.read(record, learn=learn), record)
