"""`bitlm bench growth`: what is measured, its last line, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitlm_core import preset_config
from bitlm_core.bench import growth
from bitlm_mcp.cli import app


def bench(folder: Path, text: bytes, *options: str) -> tuple[int, str, str]:
    (folder / "data").write_bytes(text[:6_000])
    short = ["--seconds", "0.1", "--progressive-seconds", "0"]
    found = CliRunner().invoke(app, ["bench", "growth", "--data", str(folder / "data"), *short, *options])
    return found.exit_code, found.stdout, found.stderr


def test_its_last_line_tells_every_growth(tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    sizes = {"d_model": 16, "nhead": 1, "num_layers": 1, "max_seq_len": 32, "ngram_rows": 64}
    monkeypatch.setattr(growth, "preset_config", lambda preset, kind: preset_config(preset, kind, **sizes))
    monkeypatch.setattr(growth, "HELD_WINDOWS", 4)
    code, told, _ = bench(tmp_path, text, "--architectures", "byte,patch")
    assert code == 0
    found = json.loads(told.splitlines()[-1])
    for kind in ("byte", "patch"):
        assert found[f"{kind}_layer_logit_difference"] == found[f"{kind}_context_logit_difference"] == 0.0
        assert 0 < found[f"{kind}_width_logit_difference"] <= found["logit_difference"] < 1e-5
        assert found[f"{kind}_context_loss_jump_percent"] == 0.0 and f"{kind}_context_loss_jump_long_percent" in found
        assert found[f"{kind}_width_parameters"] > 2 * found[f"{kind}_width_parameters_before"]
        assert found[f"{kind}_layer_seconds"] > 0
    assert found["loss_jump_percent"] == max(v for n, v in found.items() if n.endswith("_loss_jump_percent"))
    assert not [name for name in found if name.startswith("bit_")] and found["preset"] == "tiny"


def test_what_does_not_grow_is_refused(tmp_path: Path, text: bytes) -> None:
    code, _, refused = bench(tmp_path, text, "--architectures", "byte,mix")
    assert code == 1 and "'mix' is no architecture that grows" in refused
