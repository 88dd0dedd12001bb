"""Several streams beside each other give what each gives alone."""

from __future__ import annotations

from typing import Any

import pytest

from bitlm_core import ConfigError, Engine, SamplingConfig, generate_many
from tests.conftest import run
from tests.core.models.networks import a_model

PROMPTS = [b"The ", b"a prompt that is longer than the others, and than half of a window", b"", b"if x:\n", b"7"]


@pytest.mark.parametrize(("sampling", "threads"), [({}, 1), ({}, 3), ({"temperature": 0.8, "top_p": 0.9}, 2)])
@pytest.mark.parametrize("mixing", [True, False])
def test_each_stream_is_as_if_alone(byte_engine: Engine, sampling: dict[str, Any], threads: int, mixing: bool) -> None:
    model, mixer = byte_engine.model, byte_engine.mixer if mixing else None
    found = generate_many(model, mixer, PROMPTS, 90, SamplingConfig(seed=3, **sampling), threads=threads)
    for index, (prompt, generation) in enumerate(zip(PROMPTS, found, strict=True)):
        (alone,) = generate_many(model, mixer, [prompt], 90, SamplingConfig(seed=3 + index, **sampling))
        assert generation == alone and generation.engine == "fused"
    if mixing:
        single, _ = run(byte_engine.infer_steps(PROMPTS[1], 90, SamplingConfig(seed=4, **sampling)))
        assert single.data == found[1].data and single.bits_per_byte == pytest.approx(found[1].bits_per_byte)


def test_what_cannot_be_done_is_refused() -> None:
    model, plain = a_model("byte"), SamplingConfig()
    for prompts, sampling, threads, message in (
        ([], plain, 1, "0 prompts"),
        ([b""] * 5000, plain, 1, "5000 prompts are not between 1 and 4,096"),
        ([b""], plain, 0, "0 threads"),
        ([b""], SamplingConfig(constraint="utf8"), 1, "byte by byte"),
    ):
        with pytest.raises(ConfigError, match=message):
            generate_many(model, None, prompts, 1, sampling, threads=threads)
    with pytest.raises(ConfigError, match="max_new_bytes=0"):
        generate_many(model, None, [b""], 0, plain)
    with pytest.raises(ConfigError, match="architecture='bit'"):
        generate_many(a_model("bit"), None, [b""], 1, plain)
