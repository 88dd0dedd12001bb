"""`bitlm bench codecs` as a user meets it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from bitlm_core.bench import codecs as module
from bitlm_mcp import cli


def test_a_file_and_what_is_no_codec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LEAST_SECONDS", 0.0)
    monkeypatch.setattr(module.codec_bench_steps, "__kwdefaults__", {"num_bits": 1024})
    path = tmp_path / "file"
    path.write_bytes(b"line after line\n" * 30)
    found = CliRunner().invoke(cli.app, ["bench", "codecs", "--data", str(path), "--codecs", "zlib,rle"])
    assert found.exit_code == 0, found.output
    told = json.loads(found.stdout.splitlines()[-1])
    assert list(told)[:6] == ["ratio_zlib", "in_mb_s_zlib", "out_mb_s_zlib", "ratio_rle", "in_mb_s_rle", "out_mb_s_rle"]
    assert list(told)[-2:] == ["num_bytes", "machine"] and "bits_sparse" in found.stdout.splitlines()[-4]
    alone = CliRunner().invoke(cli.app, ["bench", "codecs", "--data", str(path), "--codecs", "rle", "--json"])
    assert len(alone.stdout.splitlines()) == 1 and "ratio_zlib" not in alone.stdout
    refused = CliRunner().invoke(cli.app, ["bench", "codecs", "--data", str(path), "--codecs", "gzip"])
    assert refused.exit_code == 1 and refused.stderr.startswith("bitlm: there is no codec 'gzip'")
