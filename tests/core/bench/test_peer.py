"""The peer: a stand-in with the names of nanoGPT's model.py, scored on every held-out byte once."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from bitlm_core import ConfigError, nanogpt_steps
from bitlm_core.bench.peer import BATCH, CONTEXT, PeerReport

MODEL = '''
from dataclasses import dataclass

import torch


@dataclass
class GPTConfig:
    block_size: int
    vocab_size: int
    n_layer: int
    n_head: int
    n_embd: int
    dropout: float
    bias: bool


class GPT(torch.nn.Module):
    """As likely as the weights say, whatever came before."""

    def __init__(self, config):
        super().__init__()
        self.config, self.weight = config, torch.nn.Parameter(torch.zeros(config.vocab_size))
        print("number of parameters: few")

    def configure_optimizers(self, weight_decay, learning_rate, betas, device_type):
        assert device_type == "cpu"
        return torch.optim.SGD([self.weight], lr=learning_rate if LEARNS else 0.0)

    def forward(self, symbols, targets):
        assert symbols.shape == targets.shape and symbols.shape[1] <= self.config.block_size
        logits = (self.weight if LEARNS else self.weight.detach()).expand(*symbols.shape, -1)
        return logits, torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets.flatten()) + 0 * self.weight.sum()
'''


def checkout(folder: Path, *, learns: bool) -> Path:
    (folder / "model.py").write_text(MODEL + f"\n\nLEARNS = {learns}\n")
    return folder


@pytest.mark.parametrize("length", [100, 1_000, 3_333])
def test_a_peer_that_knows_nothing_pays_for_each_held_out_byte_once(tmp_path: Path, length: int) -> None:
    data = bytes(ord("a") + index % 4 for index in range(length))
    *shares, report = nanogpt_steps(checkout(tmp_path, learns=False), data, seconds=0.02, threads=1)
    assert isinstance(report, PeerReport)
    assert report.peer_bpb == pytest.approx(2.0)  # one of four kinds
    assert shares[-1] == 1.0 and report.peer_steps == len(shares)
    assert report.peer_bytes_seen == BATCH * CONTEXT * report.peer_steps
    assert report.peer_cpu_seconds >= 0.02 and report.peer_num_parameters == 4
    assert report.flat().keys() == vars(report).keys()


def test_a_peer_that_learns_pays_less(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = b"aaaaaaaaab" * 200
    *_, report = nanogpt_steps(checkout(tmp_path, learns=True), data, seconds=0.3, threads=1)
    assert isinstance(report, PeerReport) and -math.log2(0.9) < report.peer_bpb < 1
    told = capsys.readouterr()
    assert told.out == "" and "number of parameters" in told.err  # the last line of stdout is JSON


@pytest.mark.parametrize(
    ("source", "expected"),
    [(None, "holds no model.py"), ("import nothing_like_it", "cannot be executed"), ("def", "cannot"), ("", "no GPT")],
)
def test_what_is_no_checkout_is_refused_at_once(tmp_path: Path, source: str | None, expected: str) -> None:
    if source is not None:
        (tmp_path / "model.py").write_text(source)
    with pytest.raises(ConfigError, match=expected):
        nanogpt_steps(tmp_path, bytes(1000), seconds=1, threads=1)


def test_data_shorter_than_a_context_is_refused_at_once(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="70 bytes are too few"):
        nanogpt_steps(checkout(tmp_path, learns=False), bytes(70), seconds=1, threads=1)
