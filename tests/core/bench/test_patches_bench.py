"""`bitlm bench patches`: what is compared, what is reported, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from bitlm_core import ConfigError, PatchesReport, PatchTrial, TrainingConfig, flops_per_byte, patch_bench_steps
from bitlm_core.bench import patches
from bitlm_core.bench.patches import EQUAL, VARIANTS, compared, mean_patch_size, outside_tables
from bitlm_core.models.build import build_model
from bitlm_core.models.patch_lm import PatchLM
from bitlm_mcp.cli import app

SMALL: dict[str, Any] = {
    "preset": "tiny",
    "of_all": {"d_model": 32, "num_layers": 2, "max_seq_len": 32, "ngram_rows": 64},
    "of_patches": {"local_width": 16},
    "training": TrainingConfig(batch_size=4),
}


@pytest.mark.parametrize("preset", ["tiny", "small", "base"])
def test_parameters_outside_tables_are_equal(preset: Any) -> None:
    byte, *others = compared(PatchTrial(1, (1, 2, 4, 8), tuple(VARIANTS), preset)).values()
    assert len(others) == 16 and {config.architecture for config in others} == {"patch"}
    for config in others:
        assert outside_tables(config) == pytest.approx(outside_tables(byte), rel=EQUAL)
        network = build_model(config) if preset == "tiny" else None
        if isinstance(network, PatchLM):
            table = network.ngram_embedding.weight.numel() if network.ngram_embedding else 0
            assert outside_tables(config) == sum(each.numel() for each in network.parameters()) - table


def test_variants_and_sizes_are_what_they_are_called() -> None:
    found = compared(PatchTrial(1, (4, 16), tuple(VARIANTS)))
    assert list(found)[:4] == ["byte", "patch_4", "patch_16", "patch_4_no_ngrams"]
    assert found["patch_4_no_ngrams"].ngram_rows == 0 < found["patch_4"].ngram_rows
    assert found["patch_4_differential"].attention == "differential" and found["patch_4"].attention == "full"
    sizes = {name: config.patch for name, config in found.items() if config.patch}
    assert sizes["patch_4_memory"].memory_span and not sizes["patch_4"].memory_span
    assert sizes["patch_16"].patching.mean_patch_size == 16 < sizes["patch_16"].patching.max_patch_size == 48
    fixed = compared(PatchTrial(1, (16,), fixed=True))["patch_16"].patch
    assert fixed and fixed.patching.stride == 16


@pytest.fixture(autouse=True)
def short_rounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of what draws bytes."""
    monkeypatch.setattr(patches, "ROUNDS", 1)


def test_it_trains_all_of_them_and_scores_the_rest(text: bytes) -> None:
    trial = PatchTrial(0.15, (1, 4), fixed=True, **SMALL)
    *shares, report = patch_bench_steps(text[:6_000], trial)
    assert isinstance(report, PatchesReport) and report.bytes_scored == 600
    assert shares == sorted(shares) and shares[-1] == 1.0  # type: ignore[type-var]
    names = ["byte", "patch_1", "patch_4"]
    assert [network.name for network in report.networks] == names
    assert all(network.bpb < 8.2 and network.steps > 0 for network in report.networks)
    assert sum(network.steps for network in report.networks) == len(shares)
    assert [network.mean_patch_size for network in report.networks] == [None, 1, 4]
    configs = compared(trial)
    assert [network.flops_per_byte for network in report.networks] == [flops_per_byte(configs[name]) for name in names]
    flat = report.flat()
    assert flat["bpb_patch_4"] == round(report.networks[2].bpb, 4)
    byte, patch = report.networks[0], report.networks[2]
    assert flat["train_speed_ratio_4"] == round(patch.train_bytes_per_second / byte.train_bytes_per_second, 4)
    assert flat["generate_speed_ratio_4"] == round(patch.generate_bytes_per_second / byte.generate_bytes_per_second, 4)
    assert all(isinstance(value, int | float | str | None) for value in flat.values())


def test_mean_sizes_are_of_the_data_that_is_given(text: bytes) -> None:
    data = np.frombuffer(text[:20_000], np.uint8)
    model = build_model(compared(PatchTrial(1, (5,), **SMALL))["patch_5"])
    assert isinstance(model, PatchLM)
    model.prepare(data)
    assert mean_patch_size(model, data) == pytest.approx(5, rel=0.02)
    assert mean_patch_size(model, np.zeros(4_000, np.uint8)) == 1.0  # never seen, so hard to predict


def test_what_cannot_be_compared_is_refused(text: bytes) -> None:
    with pytest.raises(ConfigError, match=r"variants='plain,odd'.*memory"):
        next(patch_bench_steps(text, PatchTrial(1, variants=("plain", "odd"))))
    with pytest.raises(ConfigError, match=r"has 1,427,520 .* choose other sizes of its parts"):
        next(patch_bench_steps(text, PatchTrial(1, of_patches={"encoder_layers": 32})))
    with pytest.raises(ConfigError, match=r"sizes=2\.5: with fixed patches"):
        next(patch_bench_steps(text, PatchTrial(1, (2.5,), fixed=True)))
    with pytest.raises(ConfigError, match="5 bytes leave 1 to be scored"):
        next(patch_bench_steps(b"abcde", PatchTrial(1)))


def test_its_last_line_has_flat_json(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:3_000])
    options = ["--data", str(tmp_path / "data"), "--seconds", "0.2", "--preset", "tiny", "--max-seq-len", "32"]
    found = CliRunner().invoke(app, ["bench", "patches", *options, "--sizes", "4", "--global-layers", "1"])
    assert found.exit_code == 0 and "patch_4" in found.stdout
    report = json.loads(found.stdout.splitlines()[-1])
    assert report["bpb_patch_4"] < 8.2 and report["generate_engine_byte"] == "fused" and report["patching"] == "entropy"
    refused = CliRunner().invoke(app, ["bench", "patches", *options, "--sizes", "4,x"])
    assert refused.exit_code == 1 and "'x' is no size of patches" in refused.stderr
