"""Coding by the compiled kernels: lossless, as small as evaluation says, and refused where it cannot be the same."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, Engine, code_stream, decode_stream, probe_digest
from tests.conftest import run
from tests.core.models.networks import a_model

LENGTH = 1500


@pytest.mark.parametrize(("mixing", "adaptive"), [(True, True), (True, False), (False, True)])
def test_lossless_and_as_small_as_evaluated(byte_engine: Engine, text: bytes, mixing: bool, adaptive: bool) -> None:
    data = text[200_000 : 200_000 + LENGTH]
    mixer = byte_engine.mixer if mixing else None
    coded = code_stream(byte_engine.model, mixer, data, adaptive=adaptive)
    assert run(decode_stream(byte_engine.model, mixer, coded, LENGTH, adaptive=adaptive)) == data
    found = run(byte_engine.evaluate_steps(np.frombuffer(data, np.uint8)))
    claimed = found.bits_per_byte if adaptive else found.bits_per_byte_static
    assert 8 * len(coded) / LENGTH == pytest.approx(claimed if mixing else found.bits_per_byte_network, rel=0.005)


@pytest.mark.parametrize("settings", [{"weights": "int8"}, {"carried": True}, {"weights": "int8", "carried": True}], ids=str)
def test_every_setting_is_lossless(byte_engine: Engine, text: bytes, settings: dict[str, Any]) -> None:
    data, model = text[210_000:210_400], byte_engine.model
    given = {"weights": settings.get("weights", "float32")}
    if settings.get("carried"):
        given["locality"] = model.carrying(32, 16)
    coded = code_stream(model, byte_engine.mixer, data, **given)
    assert run(decode_stream(model, byte_engine.mixer, coded, len(data), **given)) == data
    assert len(coded) < len(data) / 2


def test_nothing_is_nothing(byte_engine: Engine) -> None:
    assert code_stream(byte_engine.model, None, b"") == b""
    assert run(decode_stream(byte_engine.model, None, b"", 0)) == b""
    with pytest.raises(ConfigError, match="num_bytes=-1"):
        run(decode_stream(byte_engine.model, None, b"", -1))


def test_the_probe_tells_models_and_weights_apart() -> None:
    model, same = a_model("byte"), a_model("byte")
    digest = probe_digest(model)
    assert digest == probe_digest(same) and len(digest) == 64 and digest != probe_digest(model, "int8")
    with torch.no_grad():
        next(model.stack.blocks.parameters())[0, 0] += 1e-3
    assert probe_digest(model) != digest


def test_what_the_kernels_cannot_run_is_refused() -> None:
    for given in (code_stream(a_model("byte"), None, b"ab"), b""):
        with pytest.raises(ConfigError, match="architecture='bit'"):
            run(decode_stream(a_model("bit"), None, given, 2))
    with pytest.raises(ConfigError, match="architecture='bit'"):
        probe_digest(a_model("bit"))
