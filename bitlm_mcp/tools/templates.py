"""What diffusion_sample is to fill, and how, as its arguments say it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from bitlm_core import ConfigError, DiffusionSampling, ResourceLimitError, Template
from bitlm_mcp.schemas import RARE
from bitlm_mcp.tools.parameters import base64_bytes, one_of, text_bytes

Settings = TypeVar("Settings", bound=BaseModel)

MAX_TEMPLATE = 262_144
MAX_DRAWN = 8_192
DEFAULT_GAP = 32
UNTRAINED = (
    "this model has never been trained for diffusion (0 diffusion steps), so the sample is close to noise: "
    "call train_step with objective='diffusion' first"
)

NumBytes = Annotated[int, Field(ge=1, le=MAX_DRAWN, description="How many.")]
DenoisingSteps = Annotated[int, Field(ge=1, le=64, description="8 to 16 for quality.")]
Schedule = Annotated[Literal["linear", "cosine", "exp"], Field(description="How bytes appear.")]
Prefix = Annotated[str, Field(max_length=65_536, description="Text before.")]
Suffix = Annotated[str, Field(max_length=65_536, description="Text after.")]
Gapped = Annotated[str | None, Field(max_length=MAX_TEMPLATE, description="Like: The ____ of")]
GappedBase64 = Annotated[str | None, Field(max_length=MAX_TEMPLATE, description="The same, as base64.")]
Gap = Annotated[str, Field(min_length=1, max_length=16, description="An unknown byte.")]
Method = Annotated[Literal["mask", "flip"], Field(description="flip: the old way, worse.")]
Order = Annotated[Literal["spread", "annealed", "confidence", "random"] | None, Field(description="What is revealed first.")]
Remask = Annotated[float | None, Field(ge=0, lt=1, description="Share hidden again per step.")]
Temperature = Annotated[float, Field(ge=0, le=10, description="0: the likeliest bytes.")]
Constraint = Annotated[Literal["none", "utf8"], Field(description="utf8: valid text.")]
Trace = Annotated[bool, Field(description="Tell when each byte came.", json_schema_extra=RARE)]


def given_template(
    num_bytes: int, template: str | None, template_base64: str | None, gap: str, prefix: str, suffix: str
) -> Template:
    """The gap, or the template that was given. Raises ConfigError for both, ResourceLimitError for too many unknown bytes."""
    around = {"prefix": prefix.encode(), "suffix": suffix.encode()}
    if template is None and template_base64 is None:
        if gap != "_":
            raise ConfigError(f"gap={gap!r} marks unknown bytes of a template, but none was given: give one, or leave it out")
        return Template.between(num_bytes=num_bytes, **around)
    name = one_of(template=template, template_base64=template_base64)
    if num_bytes != DEFAULT_GAP:
        raise ConfigError(f"num_bytes={num_bytes} does not go with a template, whose gaps say how many: leave one of them out")
    marked = text_bytes(name, template or "") if name == "template" else base64_bytes(name, template_base64 or "")
    found = Template.marked(marked, gap.encode(), **around)
    if found.num_open > MAX_DRAWN:
        raise ResourceLimitError(
            f"the template has {found.num_open:,} unknown bytes, and {MAX_DRAWN:,} can be filled in one call: fill it in parts",
            estimate=found.num_open,
            limit=MAX_DRAWN,
        )
    return found


def given_sampling(**asked: Any) -> DiffusionSampling:
    """How to fill it. Raises ConfigError for what does not go together."""
    return valid(DiffusionSampling, asked)


def valid(kind: type[Settings], asked: Mapping[str, Any]) -> Settings:
    """Settings of a kind. Raises ConfigError, in one line, for what is out of bounds or does not go together."""
    try:
        return kind(**asked)
    except ValidationError as error:
        problems = []
        for problem in error.errors(include_url=False):
            where = f"{problem['loc'][0]}={problem['input']!r}: " if problem["loc"] else ""
            problems.append(where + problem["msg"].removeprefix("Value error, "))
        raise ConfigError("; ".join(problems)) from None
