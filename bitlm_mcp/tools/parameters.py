"""Parameters that several tools share, and how inputs given in one of several forms become bytes."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated

from pydantic import Field

from bitlm_core import (
    CodecError,
    CodecName,
    ConfigError,
    GeneralName,
    ParityError,
    SequenceTooLongError,
    bits_from_digits,
    bits_to_bytes,
)
from bitlm_mcp.schemas import RARE

MAX_TEXT = 2_000_000
MAX_BASE64 = 2_800_000
MAX_PROMPT = 262_144
ID_PATTERN = r"^[a-z0-9][a-z0-9._-]{0,63}$"

ModelId = Annotated[str, Field(max_length=64, description="Its name.")]
NewModelId = Annotated[str, Field(pattern=ID_PATTERN, description="Its name.")]
DatasetId = Annotated[str, Field(pattern=ID_PATTERN, description="Its name.")]
OptionalDatasetId = Annotated[str | None, Field(max_length=64, description="A dataset.")]
CheckpointName = Annotated[str, Field(pattern=ID_PATTERN, description="Its name.")]
SavedName = Annotated[str, Field(max_length=64, description="Its name.")]
JobId = Annotated[str, Field(max_length=64, description="Of a job.")]
Text = Annotated[str | None, Field(max_length=MAX_TEXT, description="As text.")]
DataBase64 = Annotated[str | None, Field(max_length=MAX_BASE64, description="As base64.")]
Prompt = Annotated[str | None, Field(max_length=MAX_PROMPT, description="As text.")]
PromptBase64 = Annotated[str | None, Field(max_length=MAX_PROMPT, description="As base64.")]
PromptBits = Annotated[
    str | None,
    Field(
        max_length=MAX_PROMPT,
        description="9 digits a byte, even parity last.",
    ),
]
CompressInput = Annotated[GeneralName | None, Field(description="What the base64 was compressed with.", json_schema_extra=RARE)]
CompressOutput = Annotated[
    CodecName | None, Field(description="What the answer's base64 is compressed with.", json_schema_extra=RARE)
]
Codec = Annotated[CodecName, Field(description="model: bitlm's own.", json_schema_extra=RARE)]
Records = Annotated[str | None, Field(max_length=15, description="whole, lines, fixed:N or pcap.")]
Overwrite = Annotated[bool, Field(description="Replace it.")]
Limit = Annotated[int, Field(ge=1, le=100, description="How many.")]
Offset = Annotated[int, Field(ge=0, le=1_000_000_000, description="Skip so many.")]
WaitSeconds = Annotated[float, Field(ge=0, le=600, description="Then a job_id.")]
Seed = Annotated[int, Field(ge=0, le=2**31 - 1, description="Same seed, same result.")]


def one_of(**given: str | None) -> str:
    """The name of the one input that was given. Raises ConfigError for none or several."""
    present = [name for name, value in given.items() if value is not None]
    if len(present) != 1:
        raise ConfigError(
            f"give exactly one of {', '.join(given)}; {', '.join(present) if present else 'none'} "
            f"{'were' if len(present) > 1 else 'was'} given"
        )
    return present[0]


def text_bytes(name: str, text: str) -> bytes:
    """UTF-8 bytes of an argument. Raises ConfigError when it is empty."""
    if not text:
        raise ConfigError(f"{name} is empty (0 bytes): give at least 1 byte")
    return text.encode()


def base64_bytes(name: str, text: str) -> bytes:
    """Decoded bytes of an argument. Raises ConfigError for anything that is not plain, padded base64."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ConfigError(f"{name} is not base64 ({error}): use the standard alphabet with padding") from None
    if not data:
        raise ConfigError(f"{name} is empty (0 bytes): give at least 1 byte")
    return data


def bits_bytes(name: str, digits: str) -> bytes:
    """Bytes of parity groups written as digits. Raises CodecError for anything else."""
    bits = bits_from_digits(digits)
    found = bits_to_bytes(bits, errors="report")
    if found.dropped_bits:
        raise CodecError(f"{name} has {len(bits)} bits, no multiple of 9: send groups of eight data bits and their parity")
    if found.bad_groups:
        shown = ", ".join(map(str, found.bad_groups[:8]))
        raise ParityError(
            f"{len(found.bad_groups)} of the {len(bits) // 9} groups of {name} have a wrong parity bit (groups {shown}, "
            "counted from 0): send the eight data bits and their sum modulo 2",
            groups=found.bad_groups,
        )
    data = found.data
    if not data:
        raise ConfigError(f"{name} is empty (0 bits): give at least one group of nine")
    return data


def within_window(data: bytes, max_bytes: int) -> bytes:
    """The prompt. Raises SequenceTooLongError above `max_bytes`, the model's window."""
    if len(data) > max_bytes:
        raise SequenceTooLongError(
            f"a prompt of {len(data):,} bytes ({9 * len(data):,} bits) exceeds the model's window of {max_bytes:,} bytes "
            f"({9 * max_bytes:,} bits): send the end of it, call infer_long, or init_model with a larger max_seq_len",
            length=len(data),
            limit=max_bytes,
        )
    return data


def prompt_bytes(prompt: str | None, prompt_base64: str | None, prompt_bits: str | None) -> bytes:
    """The bytes of the one prompt that was given."""
    name = one_of(prompt=prompt, prompt_base64=prompt_base64, prompt_bits=prompt_bits)
    if name == "prompt":
        return text_bytes(name, prompt or "")
    if name == "prompt_base64":
        return base64_bytes(name, prompt_base64 or "")
    return bits_bytes(name, prompt_bits or "")
