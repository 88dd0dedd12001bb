"""The context mixer as the rest of the engine sees it: bytes in, logits out, state that can be copied and stored."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bitlm_core.errors import ConfigError, ModelStateError
from bitlm_core.kernels.context_mixing import entry_points
from bitlm_core.kernels.mixing_layout import BIG_ENDIAN, EXPERT_LIMIT, EXPERT_ONE, KIND, TOTAL, TRUST, Memory, new_scratch
from bitlm_core.kernels.mixing_pass import pass_entry_point
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder, put_back
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.profile import KINDS, Profile
from bitlm_core.mixing.tables import check_memory, copied, forget_context, new_memory, table_sizes, tables
from bitlm_core.mixing.trust import TRUST_ONE, CalibrationPart, best_trust

OUTPUT_ONE = 1024  # kernel outputs are in 1/1024 nat: exact in float32
JUDGEMENT = ("state_maps", "run_maps", "match_maps", "sum_maps", "weights", "uses", "final_weights", "apm")
"""Arrays that say what each source's word is worth."""


class ContextMixer:
    """P(next bit | all earlier bits), from hashed contexts, matches and one optional outside expert, mixed online.

    Integer arithmetic throughout, so the same bytes give the same logits on every machine. One byte is one
    transaction: its eight predictions read the state from before it. Not safe for two threads that write; the kernels
    release the GIL, so give each thread a `copy()`.
    """

    def __init__(self, config: MixingConfig, profile: Profile | None = None) -> None:
        self.config = config
        self._memory = new_memory(config)
        if profile:
            self.set_profile(profile)

    @staticmethod
    def memory_bytes(config: MixingConfig) -> int:
        """Bytes that a mixer of this configuration allocates: within 1 % of `memory_mib`."""
        return table_sizes(config)["total"]

    @property
    def bytes_learned(self) -> int:
        """Bytes read with `learn=True`."""
        return int(self._memory.context[TOTAL])

    @property
    def profile(self) -> Profile:
        """What kind of data the contexts are for."""
        kind, period, stride, big_endian = self._memory.context[KIND : BIG_ENDIAN + 1].tolist()
        return Profile(kind=KINDS[kind], period=period, stride=stride, big_endian=bool(big_endian))

    def set_profile(self, profile: Profile) -> None:
        """Choose the contexts. Raises ModelStateError once something was learned: its statistics are of other contexts."""
        if self.bytes_learned:
            raise ModelStateError(
                f"the mixer has learned {self.bytes_learned:,} bytes as {self.profile!r} and cannot change to {profile!r}: "
                "begin with a new one"
            )
        chosen = (KINDS.index(profile.kind), profile.period, profile.stride, int(profile.big_endian))
        self._memory.context[KIND : BIG_ENDIAN + 1] = chosen
        forget_context(self._memory)

    def read(
        self, data: NDArray[np.uint8], expert: NDArray[np.float32] | None = None, *, learn: bool = True
    ) -> NDArray[np.float32]:
        """Predict, then learn, byte by byte.

        data: [N]. expert: [N, 8] logits in nats for the same bits, or None. Returns [N, 8]: the logit in nats of
        P(bit k of byte i = 1 | all earlier bits), most significant bit first, within ±12.6.
        The context always moves past the data. `learn=False` leaves tables, weights and history untouched.
        """
        _check_bytes(data)
        says = stretched(expert, (data.size, 8))
        out = np.zeros((data.size, 8), np.int32)
        contiguous = np.ascontiguousarray(data).view()
        contiguous.flags.writeable = False  # whoever calls: the kernel is compiled once for each type
        entry_points().read(self._memory, tables(), new_scratch(), contiguous, says, int(expert is not None), learn, out)
        return out.astype(np.float32) / np.float32(OUTPUT_ONE)

    def calibrate(self, parts: Sequence[CalibrationPart]) -> list[NDArray[np.float32]]:
        """Read what neither the expert nor the mixer has learned from, and find how far the expert is to be trusted.

        As `read` with `learn=True`, part by part, whose logits it returns. Beside it the same parts are read frozen, as they
        would be if nothing were learned from them: a frozen mixer lacks what is near, so the expert deserves more there
        than the weights, which learn while all is fresh, give it.
        """
        before = self.copy()
        given, frozen = [], []
        for part in parts:
            if part.begins:
                self.start_document()
            given.append(self.read(part.data, part.expert))
        before._memory = before._memory._replace(**{name: getattr(self._memory, name) for name in JUDGEMENT})
        before._memory.context[TRUST : TRUST + 8] = 0
        for part in parts:
            if part.begins:
                before.start_document()
            frozen.append(before.read(part.data, part.expert, learn=False))
        self._memory.context[TRUST : TRUST + 8] = best_trust(parts, frozen)
        return given

    @property
    def trust(self) -> NDArray[np.float64]:
        """[8] share of the expert's own probability in what a frozen mixer says of each bit of a byte, 0 … 1."""
        return self._memory.context[TRUST : TRUST + 8] / TRUST_ONE

    def node_logits(self, expert: NDArray[np.float32] | None = None, *, learn: bool = False) -> NDArray[np.float32]:
        """Logits [256] in nats of all nodes of the next byte; nothing changes.

        learn: whether the byte will be read with `learn=True`.

        Node 1 is the root; node (1 << k) | (first k bits) predicts bit k; index 0 is unused and 0. The numbers are
        those that `read` returns along the path of whatever byte comes. expert: [256], indexed alike, or None.
        """
        says = stretched(expert, (256,))
        out = np.zeros(256, np.int32)
        entry_points().all_nodes(self._memory, tables(), new_scratch(), says, int(expert is not None), learn, out)
        return out.astype(np.float32) / np.float32(OUTPUT_ONE)

    def encode(self, data: NDArray[np.uint8], expert: NDArray[np.float32] | None = None, *, learn: bool = True) -> bytes:
        """Code data [N] with what `read` would have predicted: its information and at most a byte more.

        Arguments, learning and errors as for `read`. Each call makes a code of its own, with its own end.
        """
        encoder = ByteEncoder()
        self.encode_into(encoder, data, expert, learn=learn)
        return encoder.finish()

    def decode(self, coded: NDArray[np.uint8], num_bytes: int, *, learn: bool = True) -> NDArray[np.uint8]:
        """The `num_bytes` bytes that a mixer in this state, without an expert, made `coded` of; moves and learns alike.

        Anything decodes to something: whether it is right, only a check sum can tell.
        """
        _check_bytes(coded)
        out = np.zeros(num_bytes, np.uint8)
        self.decode_into(out, ByteDecoder(coded), learn=learn)
        return out

    def encode_into(
        self,
        encoder: ByteEncoder,
        data: NDArray[np.uint8],
        expert: NDArray[np.float32] | None = None,
        *,
        learn: bool = True,
        trace: NDArray[np.int64] | None = None,
    ) -> None:
        """As `encode`, for the next part of a longer code. trace: for `undo`."""
        _check_bytes(data)
        says = None if expert is None else stretched(expert, (data.size, 8))
        encoder.mixed(self._memory, tables(), new_scratch(), data, says, learn, trace)

    def decode_into(
        self, out: NDArray[np.uint8], decoder: ByteDecoder, *, learn: bool = True, trace: NDArray[np.int64] | None = None
    ) -> None:
        """As `decode`, for the next part: fills `out` [N], which is contiguous. trace: for `undo`."""
        decoder.mixed(self._memory, tables(), new_scratch(), out, learn, trace)

    def undo(self, kept: ContextMixer, trace: NDArray[np.int64]) -> None:
        """Be like `kept` again, of which this is a copy that has since learned only what was traced."""
        put_back(self._memory, kept._memory, trace)

    def start_document(self) -> None:
        """An unrelated stream begins: forget the bytes read so far as context; keep all that was learned."""
        forget_context(self._memory)

    def pass_over(self, data: NDArray[np.uint8]) -> None:
        """Move the context past bytes [N], as `read` with `learn=False` would, without predicting them."""
        _check_bytes(data)
        pass_entry_point()(self._memory, tables(), np.ascontiguousarray(data))

    def copy(self) -> ContextMixer:
        """An independent mixer in the same state."""
        twin = object.__new__(ContextMixer)
        twin.config = self.config
        twin._memory = copied(self._memory)
        return twin

    def frozen(self) -> ContextMixer:
        """A mixer that stands elsewhere but shares all that was learned: only for reading with `learn=False`."""
        twin = object.__new__(ContextMixer)
        twin.config = self.config
        own = {name: getattr(self._memory, name).copy() for name in ("recent", "fields", "context")}
        twin._memory = self._memory._replace(**own)
        return twin

    @property
    def own_arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the state by name, not copied: to be looked at, never written."""
        return self._memory._asdict()

    def state_arrays(self) -> dict[str, NDArray[Any]]:
        """Copies of all arrays that make up the state, by name; enough to continue bit-identically."""
        return {name: array.copy() for name, array in self._memory._asdict().items()}

    def load_state_arrays(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Take over a state that `state_arrays` of a mixer with the same configuration returned.

        Names, shapes, dtypes and every value that is used as an index are checked first. Raises ModelStateError, and then
        nothing has changed.
        """
        expected = self._memory._asdict()
        if set(arrays) != set(expected):
            raise ModelStateError(
                f"The mixer state lacks {sorted(set(expected) - set(arrays))} and has {sorted(set(arrays) - set(expected))} "
                "too many; it was written by another version. Load it with that version, or learn anew."
            )
        for name, own in expected.items():
            given = arrays[name]
            if not isinstance(given, np.ndarray) or given.shape != own.shape or given.dtype != own.dtype:
                raise ModelStateError(
                    f"Mixer state '{name}' is {_described(given)}; this mixer has {_described(own)}. "
                    f"Create the mixer with the configuration the state was saved with (this one: {self.config!r})."
                )
        loaded = copied(Memory(**{name: np.ascontiguousarray(arrays[name]) for name in Memory._fields}))
        check_memory(loaded)
        self._memory = loaded


def _check_bytes(data: object) -> None:
    if not isinstance(data, np.ndarray) or data.dtype != np.uint8 or data.ndim != 1:
        raise ConfigError(f"data is {_described(data)}; it must be a uint8 array of shape [N].")


def _described(value: object) -> str:
    if isinstance(value, np.ndarray):
        return f"{value.dtype} of shape {list(value.shape)}"
    return type(value).__name__


def stretched(expert: NDArray[np.float32] | None, shape: tuple[int, ...]) -> NDArray[np.int32]:
    """Logits in nats -> integers in 1/256 nat within ±2047; zeros where there is no expert."""
    if expert is None:
        return np.zeros(shape, np.int32)
    if not isinstance(expert, np.ndarray) or expert.dtype != np.float32 or expert.shape != shape:
        raise ConfigError(f"expert is {_described(expert)}; it must be float32 of shape {list(shape)}, in nats.")
    if np.isnan(expert).any():
        raise ModelStateError("expert holds NaN: the network that gave it has diverged. Load an earlier checkpoint of it.")
    bound = np.float32(EXPERT_LIMIT / EXPERT_ONE)
    clipped = np.clip(expert, -bound, bound)  # before scaling, so that no float32 overflows
    integers: NDArray[np.int32] = np.rint(clipped * np.float32(EXPERT_ONE)).astype(np.int32)
    return integers
