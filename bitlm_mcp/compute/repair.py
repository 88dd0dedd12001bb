"""What Repair does, for the server and for the command line: the damage that was named, restored, and told."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import bitlm_core
from bitlm_core import ConfigError, require_memory
from bitlm_mcp.compute import answers, commands, messages
from bitlm_mcp.compute.engines import Engines

if TYPE_CHECKING:
    from bitlm_core import Engine, Repair

MAX_BYTES = 1 << 26
"""Of data; it is in memory with some numbers for each byte."""
RANGE_PATTERN = r"[0-9]{1,15}:[0-9]{1,15}"
_WORKING_BYTES = 64
_COPIES = 3  # of the mixer's tables at once, at most


def ranges_of(parts: Iterable[str]) -> tuple[tuple[int, ...], ...]:
    """Each OFFSET:LENGTH as two numbers. Raises ConfigError for anything else."""
    found = []
    for part in parts:
        if re.fullmatch(RANGE_PATTERN, part.strip()) is None:
            raise ConfigError(f"{part!r} is no range: write OFFSET:LENGTH, for example 120:4")
        found.append(tuple(map(int, part.split(":"))))
    return tuple(found)


def repaired_steps(
    engine: Engine | None,
    data: NDArray[np.uint8],
    asked: messages.DamagedPlaces,
    document_starts: NDArray[np.int64] | None = None,
) -> Generator[float, None, Repair]:
    """Restore what was named of the data, with a model or (None) by the data alone; yields the share done.

    `document_starts`: of the second and later documents, which are restored apart. Raises ConfigError for places that there
    are not, and for parity in several documents; ResourceLimitError where the memory does not suffice.
    """
    starts = np.zeros(0, np.int64) if document_starts is None else document_starts
    check_one_stream(asked, 1 + len(starts))
    model, mixer = (engine.model, engine.mixer) if engine else (None, None)
    tables_mib = mixer.config.memory_mib if mixer else 0 if engine else bitlm_core.config_for(len(data), None).memory_mib
    require_memory(_WORKING_BYTES * len(data) + _COPIES * (tables_mib << 20), "repairing the data")
    if asked.parity:
        damage = bitlm_core.failed_parity(data)
    elif asked.surprising is None:
        damage = bitlm_core.damaged_ranges(data, asked.ranges, starts)
    if engine is None:
        mixer = bitlm_core.fresh_mixer(damage.data if asked.parity else data)
    settings = bitlm_core.RepairSettings(adaptive=mixer is not None)
    found, seen = asked.surprising, 0.0
    if found is not None:
        seen = 0.1
        how: dict[str, Any] = {"adaptive": settings.adaptive, "margin_bits": asked.margin_bits, "document_starts": starts}
        looking = bitlm_core.suspected_steps(model, mixer, data, found, **how)
        damage = yield from bitlm_core.scaled(looking, 0.0, seen)
    masked = engine is not None and engine.diffusion_steps > 0
    repair: Repair = yield from bitlm_core.scaled(
        bitlm_core.repair_steps(model, mixer, damage, settings, masked=masked), seen, 1.0
    )
    return repair


def check_one_stream(asked: messages.DamagedPlaces, num_documents: int) -> None:
    """Raise ConfigError for parity in several documents: packed one after the other, their groups no longer count from 0."""
    if asked.parity and num_documents > 1:
        raise ConfigError(
            f"parity takes one packed stream of nine-bit groups, and this data has {num_documents:,} documents: repair each of "
            "them by itself"
        )


def restored_bytes(repair: Repair, asked: messages.DamagedPlaces) -> bytes:
    """The restored data in the form in which the damaged came."""
    return bitlm_core.packed_groups(repair.restored) if asked.parity else repair.restored.tobytes()


def proposals_of(repair: Repair, limit: int | None = None) -> list[dict[str, Any]]:
    """The first `limit` proposals, by offset."""
    columns = (repair.offsets, repair.was, repair.proposed, repair.confidence.round(4))
    rows = zip(*(column[:limit].tolist() for column in columns), strict=True)
    return [dict(zip(("offset", "was", "proposed", "confidence"), row, strict=True)) for row in rows]


def repair_steps(engines: Engines, command: commands.Repair) -> Generator[float, None, answers.RepairOutcome]:
    """Repair, yielding the share done. The proposals go to `output`, a line of JSON each."""
    engine = engines.get(command.model, command.trace).engine if command.model else None
    data = command.data.open()
    repair = yield from repaired_steps(engine, np.asarray(data.array), command.places, data.document_starts)
    command.output.write_text("".join(json.dumps(row) + "\n" for row in proposals_of(repair)))
    if command.restored is not None:
        command.restored.write_bytes(restored_bytes(repair, command.places))
    return answers.RepairOutcome(
        num_places=repair.num_places,
        num_proposals=len(repair.offsets),
        proposals=tuple(answers.RepairedByte(**row) for row in proposals_of(repair, command.first)),
    )
