"""Byte-latent models in the compiled kernels against PyTorch, and against themselves cut otherwise."""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import pytest
import torch

from bitlm_core import ConfigError, SamplingConfig, preset_config
from bitlm_core.generation.autoregressive import generate_steps
from bitlm_core.generation.many import generate_many
from bitlm_core.mixing.coding import ByteDecoder, ByteEncoder
from bitlm_core.mixing.config import MixingConfig
from bitlm_core.mixing.expert import expert_path_logits
from bitlm_core.mixing.fused import FusedStreams
from bitlm_core.mixing.mixer import ContextMixer
from bitlm_core.mixing.predictor import Predictor
from bitlm_core.mixing.windows import half_overlapping
from bitlm_core.models.build import build_model
from bitlm_core.models.packed import can_be_packed, open_room, packed
from bitlm_core.models.patch_lm import PatchLM
from tests.conftest import run

WINDOW = 64
FORMS: dict[str, dict[str, Any]] = {
    "plain": {},
    "odd widths": {"d_model": 36, "nhead": 3, "dim_feedforward": 77, "local_width": 36, "local_heads": 3, "slots": 3},
    "wider bytes than patches": {"local_width": 48, "local_heads": 3, "slots": 1, "encoder_layers": 2, "decoder_layers": 2},
    "memory": {"memory_span": 2},
    "memory of each patch": {"memory_span": 1, "d_model": 20},
    "differential in chunks": {"attention": "differential", "chunk_size": 3},
    "halting": {"use_act": True, "act_threshold": 0.5},
    "chunked": {"chunk_size": 3, "overlap": 1},
    "sinusoidal": {"position": "sinusoidal"},
    "without n-grams": {"ngram_rows": 0},
    "two orders": {"ngram_orders": (2, 5)},
    "monotonic": {"monotonic": True, "min_patch_size": 2, "max_patch_size": 6},
    "adaptive": {"adaptive": True, "mean_patch_size": 2, "reset_context": True},
    "space": {"patching": "space", "max_patch_size": 9},
    "fixed": {"patching": "fixed", "stride": 5},
    "single bytes": {"patching": "fixed", "stride": 1},
}


@pytest.fixture(scope="module")
def data(text: bytes) -> np.ndarray:
    """Of two and a half windows, with bytes that were never met."""
    return np.frombuffer(text[30_000 : 30_000 + 5 * WINDOW // 2 - 9] + bytes(range(250, 256)), np.uint8)


@pytest.fixture
def a_patch_model(text: bytes) -> Any:
    """Small networks whose zero-initialised parts were filled, and whose entropies were counted."""

    def make(**form: Any) -> PatchLM:
        sizes = {"d_model": 32, "nhead": 2, "num_layers": 3, "max_seq_len": WINDOW, "ngram_rows": 64}
        local = {"local_width": 16, "local_heads": 2, "local_chunk": 10}
        model = cast(PatchLM, build_model(preset_config("tiny", "patch", **{**sizes, **local, **form}), seed=3).eval())
        generator = torch.Generator().manual_seed(4)
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
        model.prepare(np.frombuffer(text[:20_000], np.uint8))
        return model

    return make


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_patches_agrees_with_pytorch_over_windows(form: str, a_patch_model: Any, data: np.ndarray) -> None:
    model = a_patch_model(**FORMS[form])
    bulk = np.concatenate([part for _, part in expert_path_logits(model, data, half_overlapping(len(data), WINDOW))])
    streams = FusedStreams(model)
    np.testing.assert_allclose(streams.path_logits(data.tobytes()), bulk, rtol=0, atol=5e-6)
    narrow = FusedStreams(model, weights="int8").path_logits(data.tobytes())
    assert 1e-4 < np.abs(narrow - bulk).max() < 0.06 < bulk.std()


@pytest.mark.parametrize("form", ["plain", "memory", "halting"])
def test_the_cached_decoder_and_the_kernels_agree(form: str, a_patch_model: Any, data: np.ndarray) -> None:
    model = a_patch_model(**FORMS[form])
    both = [Predictor(model, None, adaptive=False, running=running) for running in ("fused", "torch")]  # type: ignore[arg-type]
    assert [predictor.engine for predictor in both] == ["fused", "torch"]
    for byte in data[: WINDOW + 9].tolist():
        nodes = [predictor.node_logits() for predictor in both]
        np.testing.assert_allclose(nodes[0][1:], nodes[1][1:], rtol=0, atol=1e-5)
        for predictor in both:
            predictor.advance(byte)


@pytest.mark.parametrize("weights", ["float32", "int8"])
def test_bits_do_not_depend_on_how_many_bytes_are_read_together(weights: Any, a_patch_model: Any, data: np.ndarray) -> None:
    model = a_patch_model(**FORMS["odd widths"], memory_span=2)
    expected = FusedStreams(model, weights=weights).path_logits(data.tobytes())
    for rows in (1, 5):
        cut = FusedStreams(model, weights=weights)
        cut._room = open_room(cut._net, cut._streams, rows)
        assert np.array_equal(cut.path_logits(data.tobytes()), expected)
    single = FusedStreams(model, weights=weights)
    for byte, logits in zip(data.tolist(), expected, strict=True):
        nodes = single.node_logits()
        assert [nodes[1 << k | byte >> (8 - k)] for k in range(8)] == logits.tolist()
        single.read(bytes([byte]))


def test_later_bytes_leave_what_patches_predict_before_bit_identical(a_patch_model: Any, data: np.ndarray) -> None:
    model = a_patch_model(**FORMS["memory"])
    before = FusedStreams(model).path_logits(data.tobytes())
    for place in (0, 9, WINDOW - 1, WINDOW, len(data) - 1):
        changed = data.copy()
        changed[place:] ^= 0x5A
        after = FusedStreams(model).path_logits(changed.tobytes())
        assert np.array_equal(before[:place], after[:place])
        assert before[place, 0] == after[place, 0] and not np.array_equal(before[place], after[place])


@pytest.fixture(scope="module")
def mixer(text: bytes) -> ContextMixer:
    mixer = ContextMixer(MixingConfig(memory_mib=16))
    mixer.read(np.frombuffer(text[:20_000], np.uint8))
    return mixer


@pytest.mark.parametrize("mixing", [True, False])
def test_several_streams_of_patches_draw_what_one_draws(mixing: bool, a_patch_model: Any, mixer: ContextMixer) -> None:
    """... and PyTorch, too: logits differ in the seventh digit, which these seeds do not meet."""
    model, of_mixing = a_patch_model(**FORMS["adaptive"], memory_span=3), mixer if mixing else None
    prompts, sampling = [b"", b"The ", b"a longer beginning, of which some patches are made"], SamplingConfig(seed=5)
    for weights, threads in (("float32", 2), ("int8", 1)):
        many = generate_many(model, of_mixing, prompts, 90, sampling, threads=threads, weights=weights)  # type: ignore[arg-type]
        for index, (prompt, found) in enumerate(zip(prompts, many, strict=True)):
            alone = SamplingConfig(seed=5 + index)
            predictor = Predictor(model, of_mixing, adaptive=False, weights=weights)  # type: ignore[arg-type]
            assert run(generate_steps(predictor, prompt, 90, alone)).data == found.data
    torch_predictor = Predictor(model, of_mixing, adaptive=False, running="torch")
    fused = Predictor(model, of_mixing, adaptive=False)
    sampled = [run(generate_steps(each, b"The ", 70, SamplingConfig(seed=6, top_p=0.9))) for each in (torch_predictor, fused)]
    assert sampled[0].data == sampled[1].data and [each.engine for each in sampled] == ["torch", "fused"]


@pytest.mark.parametrize("given", [{}, {"mixing": False}, {"weights": "int8"}, {"adaptive": False}], ids=str)
def test_coding_with_patches_is_lossless(given: dict[str, Any], a_patch_model: Any, mixer: ContextMixer, text: bytes) -> None:
    model, given = a_patch_model(**FORMS["memory"]), {"adaptive": True, **given}
    of_mixing = mixer if given.pop("mixing", True) else None
    data = np.frombuffer(text[70_000:70_300], np.uint8)
    encoder, predictor = ByteEncoder(), Predictor(model, of_mixing, **given)
    logits = FusedStreams(model, weights=given.get("weights", "float32")).path_logits(data.tobytes())
    for start in (0, 100):
        predictor.encode(encoder, data[start : start + 100 + 2 * start])
    code = encoder.finish()
    decoder, predictor, out = ByteDecoder(np.frombuffer(code, np.uint8)), Predictor(model, of_mixing, **given), data.copy()
    out[:] = 0
    for start in range(0, len(data), 37):
        predictor.decode(decoder, out[start : start + 37])
    assert np.array_equal(out, data)
    if of_mixing is None:  # what it predicts is what it costs
        signs = 1.0 - 2.0 * np.unpackbits(data).reshape(-1, 8)
        bits = np.logaddexp(0, signs * logits.astype(np.float64)).sum() / np.log(2)
        assert 8 * len(code) == pytest.approx(bits, rel=0.005)


def test_what_the_kernels_read_of_patches_and_what_not(a_patch_model: Any, text: bytes) -> None:
    model = a_patch_model()
    first = packed(model, "float32")
    assert packed(model, "float32") is first and can_be_packed(model)
    model.entropy.fit(np.frombuffer(text[20_000:40_000], np.uint8))
    assert packed(model, "float32") is not first  # other entropies are other patches
    model.compute_dtype = torch.bfloat16
    assert not can_be_packed(model)
    with pytest.raises(ConfigError, match="carries no keys and values"):
        FusedStreams(a_patch_model(), locality=a_patch_model().encoder.locality)
