"""What a repository on a hub holds, and how that is known to be whole.

    model.safetensors   the checkpoint's file as it is in a store, byte for byte
    config.json         the engine's configuration, which the header of that file has too; to be looked at first
    bitlm.json          the format, and size and SHA-256 of the two files above
    README.md           the model card; for people alone, who may edit it

A pull reads the first three by name and nothing else that a repository may hold, above all nothing that is code.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from bitlm_core.checkpoint.header import VERSION
from bitlm_core.checkpoint.manifest import CheckpointInfo
from bitlm_core.engine_config import EngineConfig
from bitlm_core.errors import BitLMError, CheckpointVersionError, HubRepositoryError, ResourceLimitError

DATA, CONFIG, MANIFEST, CARD = "model.safetensors", "config.json", "bitlm.json", "README.md"
MAX_SMALL_BYTES = 1 << 20
"""Of each JSON file."""
MAX_DATA_BYTES = 1 << 36
"""64 GiB: more than any engine of this program takes."""


class FilePart(BaseModel):
    """One file of a checkpoint."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)

    bytes: Annotated[int, Field(ge=1)]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Files(BaseModel):
    """The files of a checkpoint, by name."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    data: Annotated[FilePart, Field(alias=DATA)]
    config: Annotated[FilePart, Field(alias=CONFIG)]


class Manifest(BaseModel):
    """`bitlm.json`. `version`: of checkpoints, see `checkpoint.header`; `step`: of the model."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    format: Literal["bitlm-checkpoint"] = "bitlm-checkpoint"
    version: Annotated[int, Field(ge=1, le=1 << 20, strict=True)] = VERSION
    name: Annotated[str, Field(max_length=64)]
    step: Annotated[int, Field(ge=0, lt=1 << 40, strict=True)]
    files: Files


@dataclass(frozen=True)
class SmallFiles:
    """The two JSON files of a repository, as bytes."""

    config: bytes
    manifest: bytes


def small_files(info: CheckpointInfo, header: Mapping[str, Any]) -> SmallFiles:
    """What stands beside a checkpoint's data; the same for the same checkpoint, byte for byte."""
    config = _json(header["config"])
    parts = {
        DATA: FilePart(bytes=info.bytes_, sha256=info.sha256),
        CONFIG: FilePart(bytes=len(config), sha256=hashlib.sha256(config).hexdigest()),
    }
    manifest = Manifest(name=info.name, step=info.step, files=Files.model_validate(parts))
    return SmallFiles(config, _json(manifest.model_dump(by_alias=True)))


def read_manifest(text: bytes, repo: str) -> Manifest:
    """What `bitlm.json` says.

    Raises HubRepositoryError for anything else, CheckpointVersionError for another format, ResourceLimitError for data that
    is too large.
    """
    try:
        found = Manifest.model_validate_json(text)
    except ValidationError as error:
        raise _foreign(repo, f"its {MANIFEST} is none of this program ({error.error_count()} faults)") from None
    if found.version != VERSION:
        remedy = "update bitlm" if found.version > VERSION else "its format is of before the first release"
        raise CheckpointVersionError(
            f"the checkpoint in {repo} has format version {found.version}; this program reads version {VERSION}: {remedy}",
            name=repo,
            version=found.version,
        )
    if found.files.data.bytes > MAX_DATA_BYTES:
        raise ResourceLimitError(
            f"the checkpoint in {repo} has {found.files.data.bytes:,} bytes, more than the {MAX_DATA_BYTES:,} that this "
            "program takes: pull another one",
            estimate=found.files.data.bytes,
            limit=MAX_DATA_BYTES,
        )
    return found


def check_listed(manifest: Manifest, sizes: Mapping[str, int | None], repo: str) -> None:
    """Raise HubRepositoryError where a repository lists other sizes than its manifest tells, before anything large comes."""
    for name, part in ((DATA, manifest.files.data), (CONFIG, manifest.files.config)):
        if name not in sizes:
            raise _foreign(repo, f"it has a {MANIFEST}, and no {name}")
        if sizes[name] not in (None, part.bytes):
            raise _foreign(repo, f"its {name} has {sizes[name]:,} bytes, and should have {part.bytes:,}")


def check_whole(text: bytes, part: FilePart, name: str, repo: str) -> None:
    """Raise HubRepositoryError for a small file that is not what the manifest tells."""
    if len(text) != part.bytes or hashlib.sha256(text).hexdigest() != part.sha256:
        raise damaged(repo, name, part)


def read_config(text: bytes, repo: str) -> dict[str, Any]:
    """What `config.json` says. Raises HubRepositoryError unless that describes an engine."""
    try:
        told: dict[str, Any] = json.loads(text)
        EngineConfig.model_validate(told)
    except (BitLMError, ValueError, RecursionError) as error:
        raise _foreign(repo, f"its {CONFIG} describes no model ({type(error).__name__})") from None
    return told


def check_header(header: Mapping[str, Any], config: Mapping[str, Any], manifest: Manifest, repo: str) -> None:
    """Raise HubRepositoryError unless the data's own header tells the same as the files beside it."""
    if header.get("config") != config:
        raise _foreign(repo, f"its {CONFIG} describes another model than its {DATA}")
    if header.get("step") != manifest.step:
        raise _foreign(repo, f"its {MANIFEST} tells step {manifest.step}, and its {DATA} another one")


def check_ours(names: Iterable[str], repo: str) -> None:
    """Raise HubRepositoryError where a repository holds files that a push would replace, and no checkpoint of this program."""
    held = set(names)
    lost = sorted(held & {DATA, CONFIG})
    if lost and MANIFEST not in held:
        raise HubRepositoryError(
            f"{repo} holds another program's {' and '.join(lost)}, which a push would replace: choose another repository",
            repo=repo,
        )


def damaged(repo: str, name: str, part: FilePart) -> HubRepositoryError:
    """The error for a file that is not what the manifest tells."""
    return HubRepositoryError(
        f"{name} of {repo} is damaged: it is not the {part.bytes:,} bytes of SHA-256 {part.sha256[:12]}… that {MANIFEST} "
        "tells. Nothing was stored: pull another revision, or ask its owner to push it again",
        repo=repo,
    )


def foreign(repo: str) -> HubRepositoryError:
    """The error for a repository without a manifest."""
    return _foreign(repo, f"it has no {MANIFEST}")


def _foreign(repo: str, why: str) -> HubRepositoryError:
    return HubRepositoryError(
        f"{repo} holds no checkpoint of this program: {why}. Nothing was stored: pull what push_checkpoint has made", repo=repo
    )


def _json(value: Any) -> bytes:
    return json.dumps(value, indent=1, sort_keys=True, allow_nan=False).encode() + b"\n"
