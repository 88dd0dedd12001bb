"""`bitlm bench …`: every command once in small, its last line, and how it refuses."""

from __future__ import annotations

import bz2
import functools
import importlib
import inspect
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import bitlm_core
from bitlm_core.bench import generate, quantize
from bitlm_mcp import cli
from bitlm_mcp.bench_app import COMMANDS

PLACE = ["preset", "architecture"]
MACHINE = ["machine"]
PEER = """
import torch

class GPTConfig:
    def __init__(self, **sizes):
        self.__dict__.update(sizes)

class GPT(torch.nn.Module):
    def __init__(self, config):
        super().__init__()
        self.config, self.weight = config, torch.nn.Parameter(torch.zeros(config.vocab_size))
        print("number of parameters: few")

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        return torch.optim.SGD([self.weight], lr=learning_rate)

    def forward(self, symbols, targets):
        logits = self.weight.expand(*symbols.shape, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten())
"""


def invoked(*arguments: str) -> Result:
    return CliRunner().invoke(cli.app, ["bench", *arguments])


def last_line(*arguments: str) -> dict[str, Any]:
    found = invoked(*arguments)
    assert found.exit_code == 0, found.output
    return dict(json.loads(found.stdout.splitlines()[-1]))


def test_train_tells_the_fastest_case() -> None:
    sizes = ["--preset", "tiny", "--max-seq-len", "32", "--chunk-size", "16", "--batch-size", "1,2", "--steps", "2"]
    found = last_line("train", *sizes)
    figures = ["bytes_per_second", "step_ms", "gemm_gflops", "gemm_share"]
    assert list(found) == [*figures, *PLACE, "batch_size", "threads", "num_parameters", *MACHINE]
    assert all(found[name] > 0 for name in figures) and found["batch_size"] in (1, 2)


def test_memory_tells_how_activations_grow_with_depth() -> None:
    found = last_line("memory", "--preset", "tiny", "--max-seq-len", "64", "--chunk-size", "16", "--reversible", "true")
    assert list(found) == ["activation_ratio_24_to_4", "plain_ratio_24_to_4", *PLACE, *MACHINE]
    assert found["activation_ratio_24_to_4"] <= 1.1 and found["plain_ratio_24_to_4"] > 3


def test_long_tells_what_a_position_costs_more_in_long_contexts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bitlm_core, "long_costs", functools.partial(bitlm_core.long_costs, lengths=(64, 256)))
    found = last_line("long", "--preset", "tiny", "--chunk-size", "16", "--rounds", "1")
    ratios = ["cost_ratio_128k_to_4k", "answer_ratio_128k_to_4k", "memory_ratio_128k_to_4k"]
    assert list(found) == [*ratios, *PLACE, *MACHINE]
    assert all(found[name] > 0 for name in ratios) and found["memory_ratio_128k_to_4k"] < 1.5


def test_learn_tells_what_was_learned_and_what_a_peer_learned(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:2_000])
    (tmp_path / "model.py").write_text(PEER)
    arguments = ["--data", str(tmp_path / "data"), "--seconds", "1", "--preset", "tiny", "--no-mixing", "--json"]
    found = invoked("learn", *arguments, "--peer", "nanogpt", "--peer-path", str(tmp_path))
    (line,) = found.stdout.splitlines()
    report = json.loads(line)
    promised = {"bpb_static", "bpb_online", "cpu_seconds", "bytes_seen", "seconds_to_2739"}
    own = set(bitlm_core.LearnReport.__dataclass_fields__)
    peer = {"peer_bpb", "peer_steps", "peer_bytes_seen", "peer_cpu_seconds", "peer_num_parameters"}
    others = {"bpb_gzip", "bpb_bzip2", "bpb_xz"}
    assert promised <= own and report.keys() == own | others | peer
    rest = text[:2_000][1_800:]
    assert report["bpb_bzip2"] == round(8 * (len(bz2.compress(text[:2_000])) - len(bz2.compress(text[:1_800]))) / len(rest), 4)
    assert 0 < report["bpb_static"] < 8.5 and 0 < report["peer_bpb"] < 8


def test_halting_compares_two_networks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(bytes(range(256)) * 20)
    found = last_line("halting", "--preset", "tiny", "--num-layers", "1", "--steps", "2", "--data", str(tmp_path / "data"))
    assert {"bpb_plain", "bpb_halting", "bpb_ratio", "step_ratio", "mean_layers"} <= set(found)


def test_defaults_tells_arguments_for_the_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # the other tests compute with one thread
    found = last_line("defaults", "--preset", "tiny", "--steps", "2")
    assert found.keys() == set(bitlm_core.Defaults.__dataclass_fields__)
    names = ("attention", "chunk_size", "reversible", "max_seq_len")
    model = bitlm_core.preset_config("tiny", **{name: found[name] for name in names})
    assert model.max_seq_len == found["max_seq_len"] >= 256 and found["threads"] == 1


def test_generate_tells_how_fast_bytes_are_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    little = {"d_model": 32, "nhead": 1, "num_layers": 1}
    sizes = {"SIZES": {"little": little, "less": little}, "PATCH_SIZES": {"little": {**little, "local_width": 32}}}
    for name, value in {**sizes, "WINDOW": 32, "ROUNDS": 1, "SECONDS": 0.01}.items():
        monkeypatch.setattr(generate, name, value)
    found = last_line("generate", "--parameters", "little,less")
    promised = {"bytes_per_second", "bytes_per_second_int8", "bytes_per_second_mixing", "max_logit_difference", "engine"}
    assert {f"{name}_{size}" for name in promised for size in ("little", "less")} <= set(found)
    assert 0 < found["max_logit_difference_less"] < 1e-5
    found = last_line("generate", "--parameters", "little", "--architecture", "byte,patch")
    assert found["patch_bytes_patch_little"] == 4 and found["patch_bytes_byte_little"] is None
    assert 0 < found["max_logit_difference_patch_little"] < 1e-5


def test_weights_tells_what_int8_costs(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "data").write_bytes(text[:2_000])
    found = last_line("weights", "--data", str(tmp_path / "data"), "--seconds", "1", "--preset", "tiny")
    assert found.keys() == set(bitlm_core.Int8Report.__dataclass_fields__)


def test_quantize_tells_what_small_models_cost(tmp_path: Path, text: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "data").write_bytes(text[:2_000])
    monkeypatch.setattr(quantize, "DRAWN", 8)
    found = last_line(*("quantize", "--data", str(tmp_path / "data"), "--seconds", "1", "--preset", "tiny", "--qat-steps", "1"))
    assert found.keys() == set(bitlm_core.QuantizeReport.__dataclass_fields__)


REFUSED = [
    (["generate", "--parameters", "9M"], "'9M' is not one of 0.8M, 1.3M, 5M, 25M"),
    (["generate", "--architecture", "byte,bit"], "'bit' is neither byte nor patch"),
    (["generate", "--patch-bytes", "3"], "patch_bytes=3 means nothing with architecture='byte'"),
    (["train", "--max-seq-len", "64,"], "'' is no whole number"),
    (["train", "--batch-size", "9999"], "batch_size=9999"),
    (["train", "--threads", "0"], "threads=0 is not between 1 and 1,024"),
    (["train", "--reversible", "maybe"], "'maybe' is neither true nor false"),
    (["memory", "--dtype", "float16"], "'float16' is neither bfloat16 nor float32"),
    (["memory", "--reversible", "true", "--use-checkpoint", "true"], "choose one of them"),
    (["learn", "--peer", "nanogpt"], "belong together"),
    (["learn", "--peer", "nanogpt", "--peer-path", "/nowhere"], "/nowhere holds no model.py"),
    (["learn", "--data", "/nowhere"], "No such file or directory: '/nowhere'"),
]


@pytest.mark.parametrize(("arguments", "expected"), REFUSED)
def test_what_cannot_be_run_ends_with_one_line(arguments: list[str], expected: str) -> None:
    found = invoked(*arguments)
    assert found.exit_code == 1 and found.stdout == ""
    (line,) = found.stderr.splitlines()
    assert line.startswith("bitlm: ") and expected in line


def test_the_program_ends_as_the_command_does() -> None:
    command = [sys.executable, "-m", "bitlm_mcp", "bench", "train", "--reversible", "maybe"]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 1 and found.stdout == ""
    assert found.stderr.startswith("bitlm: ") and len(found.stderr.splitlines()) == 1


def test_every_benchmark_of_the_rooms_is_offered() -> None:
    rooms = [importlib.import_module(f"bitlm_mcp.{path.stem}") for path in Path(cli.__file__).parent.glob("bench_*.py")]
    shared = {"bitlm_mcp.bench_reports", "bitlm_mcp.bench_app", "bitlm_mcp.bench_fleet"}
    made = {
        function
        for room in rooms
        for name, function in inspect.getmembers(room, inspect.isfunction)
        if function.__module__ == room.__name__ not in shared and not name.startswith("_")
    }
    assert made <= set(COMMANDS.values()) and len(made) >= 15
