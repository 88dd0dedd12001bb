"""Settings: what fits together, and what is refused with its reason."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from bitlm_core.patching.config import PatchingConfig


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"min_patch_size": 5, "max_patch_size": 4}, "min_patch_size=5 is above max_patch_size=4"),
        ({"scheme": "space", "monotonic": True}, "monotonic=true means nothing with scheme='space'"),
        ({"scheme": "space", "adaptive": True}, "adaptive=true means nothing"),
        ({"scheme": "fixed", "stride": 4, "entropy_threshold": 1.0}, "entropy_threshold=1.0 means nothing"),
        ({"scheme": "space", "mean_patch_size": 5}, "mean_patch_size=5 means nothing"),
        ({"scheme": "space", "reset_context": True}, "reset_context=true means nothing"),
        ({"stride": 3}, "stride=3 means nothing with scheme='entropy'"),
        ({"scheme": "fixed"}, "give stride"),
        ({"scheme": "fixed", "stride": 30}, "stride=30 is not within min_patch_size=1 … max_patch_size=24"),
        ({"mean_patch_size": 30}, "mean_patch_size=30 is not within"),
        ({"min_patch_size": 6}, "mean_patch_size=4 is not within min_patch_size=6"),
        ({"entropy_threshold": 2.0, "mean_patch_size": 5}, "leave one of them out"),
        ({"entropy_threshold": 99}, "entropy_threshold"),
        ({"patch_size": 4}, "patch_size"),
        ({"monotonic": True, "use_monotonic": False}, "use_monotonic"),
    ],
)
def test_what_does_not_fit_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ValidationError) as caught:
        PatchingConfig(**fields)
    assert told in str(caught.value)


def test_both_names_of_monotonic() -> None:
    assert PatchingConfig.model_validate({"use_monotonic": True}) == PatchingConfig(monotonic=True)


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"monotonic": True, "adaptive": True, "entropy_threshold": 1.5, "mean_patch_size": 6},
        {"entropy_threshold": 1.5, "min_patch_size": 6},
        {"scheme": "space", "max_patch_size": 3},
        {"scheme": "fixed", "stride": 8},
    ],
)
def test_what_is_written_is_read_again(fields: dict[str, Any]) -> None:
    config = PatchingConfig(**fields)
    assert PatchingConfig.model_validate_json(config.model_dump_json()) == config
