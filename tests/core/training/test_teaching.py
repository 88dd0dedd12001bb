"""The teacher's term against plain formulas, and the examples that take their places in a batch."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from bitlm_core.models.build import build_model
from bitlm_core.models.output import byte_log_probs, path_bits, path_logits
from bitlm_core.models.presets import preset_config
from bitlm_core.training.batches import Batch, joined, sample_windows
from bitlm_core.training.data import bytes_in_memory
from bitlm_core.training.objective import batch_loss
from bitlm_core.training.teaching import Beliefs, Teaching, bit_kl, byte_kl, divergence, reach


def nodes(rows: int, seed: int) -> torch.Tensor:
    return 3 * torch.randn(rows, 256, generator=torch.Generator().manual_seed(seed))


def test_kl_of_equal_distributions_is_nothing_and_else_is_the_plain_sum() -> None:
    teacher, student = nodes(5, 1), nodes(5, 2)
    assert byte_kl(teacher, teacher).abs().max() == 0 and bit_kl(teacher, teacher).abs().max() == 0
    p, q = byte_log_probs(teacher.double()), byte_log_probs(student.double())
    torch.testing.assert_close(byte_kl(teacher, student).double(), (p.exp() * (p - q)).sum(dim=1), rtol=1e-5, atol=1e-5)
    assert (byte_kl(teacher, student) > 0.1).all()


def test_reach_is_the_sum_of_all_bytes_behind_a_node() -> None:
    logits = nodes(3, 3)
    probs, through = byte_log_probs(logits).exp(), reach(logits)
    for node in (1, 2, 3, 5, 77, 255):
        depth = node.bit_length() - 1
        span = 256 >> depth
        first = (node - (1 << depth)) * span
        torch.testing.assert_close(through[:, node], probs[:, first : first + span].sum(dim=1), rtol=1e-4, atol=1e-7)
    assert (through[:, 0] == 0).all()


def test_the_gradient_is_reach_times_the_difference_of_probabilities() -> None:
    teacher, student = nodes(4, 4), nodes(4, 5).requires_grad_()
    byte_kl(teacher, student).sum().backward()  # type: ignore[no-untyped-call]
    assert student.grad is not None
    plain = reach(teacher) * (torch.sigmoid(student) - torch.sigmoid(teacher))
    torch.testing.assert_close(student.grad, plain.detach(), rtol=1e-4, atol=1e-6)


def test_without_nodes_the_bits_that_there_are_are_compared() -> None:
    data = torch.tensor([[65, 200]])
    t, s = nodes(2, 6).view(1, 2, 256), nodes(2, 7).view(1, 2, 256)
    teacher, student = (Beliefs(path_logits(each, data), None) for each in (t, s))
    p, q = (torch.stack([1 - ones, ones]) for ones in (torch.sigmoid(each.path_logits) for each in (teacher, student)))
    plain = (p * (p.log() - q.log())).sum(dim=0).sum(dim=2).flatten()
    for with_nodes in (student, student._replace(nodes=s.flatten(0, 1))):
        torch.testing.assert_close(divergence(teacher, with_nodes, data), plain, rtol=1e-4, atol=1e-5)
    assert path_bits(data).shape == teacher.path_logits.shape


@pytest.mark.parametrize("architecture", ["byte", "bit", "patch"])
def test_what_is_minimised_is_the_weighted_sum_and_what_is_reported_is_the_data_s(architecture: str) -> None:
    window = 36 if architecture == "bit" else 16
    sizes = {"d_model": 16, "nhead": 1, "num_layers": 1, "max_seq_len": window}
    model = build_model(preset_config("tiny", architecture, **sizes, **({} if architecture == "bit" else {"ngram_rows": 16})))
    with torch.no_grad():
        model.head.weight.normal_(generator=torch.Generator().manual_seed(1))  # type: ignore[union-attr, operator]
    text = bytes(range(64, 112))
    model.prepare(bytes_in_memory(text).array)
    batch = sample_windows(bytes_in_memory(text), batch=2, length=model.config.max_bytes, seed=0, step=0)
    asked: list[Batch] = []

    def ask(of: Batch) -> Beliefs:
        asked.append(of)
        return Beliefs(torch.zeros(*of.data.shape, 8), torch.zeros(of.num_bytes, 256))

    plain = batch_loss(model, batch, "causal", torch.Generator())
    taught = batch_loss(model, batch, "causal", torch.Generator(), teaching=Teaching(ask, 0.25, 2.0))
    alone = batch_loss(model, batch, "causal", torch.Generator(), teaching=Teaching(ask, 0.25, 1e-9))
    assert asked[0] is batch and taught.nats == plain.nats and torch.equal(taught.path_logits, plain.path_logits)
    assert alone.minimised.item() == pytest.approx(0.25 * plain.nats.item(), rel=1e-5)
    kl = (taught.minimised.item() - 0.25 * plain.nats.item()) / 2
    if architecture == "bit":  # KL of fair bits and the model's is half of what both values of each bit cost, less ln 2
        logits = plain.path_logits
        wanted = ((torch.nn.functional.softplus(logits) - logits / 2) - math.log(2)).sum(dim=2).mean().item()
    else:
        whole = model.predicted_nodes(batch.data).flatten(0, 1)
        wanted = (-byte_log_probs(whole).mean(dim=1) - math.log(256)).mean().item()
    assert kl == pytest.approx(wanted, rel=1e-4) and kl > 0.01


def test_examples_take_the_last_rows_in_turn_until_their_time_is_over() -> None:
    batch = Batch(torch.arange(8).view(4, 2), None, torch.arange(4))
    examples = Batch(100 + torch.arange(6).view(3, 2), None, torch.arange(3))
    teaching = Teaching(lambda of: Beliefs(of.data, None), 1.0, 1.0, examples, example_share=0.5, examples_until=0.1)
    first, second = (teaching.shown(batch, step=step, progress=0.05) for step in (0, 1))
    assert torch.equal(first.data, torch.tensor([[0, 1], [2, 3], [100, 101], [102, 103]]))
    assert torch.equal(second.data[2:], torch.tensor([[104, 105], [100, 101]]))
    assert torch.equal(first.starts, torch.tensor([0, 1, 0, 1]))  # type: ignore[arg-type]
    assert teaching.shown(batch, step=0, progress=0.1) is batch
    late = replace(teaching, taught_from=0.5)
    assert late.due(0.49) is None and late.due(0.5) is late and teaching.due(0.0) is teaching


def test_windows_know_where_they_begin_in_the_whole() -> None:
    data = bytes_in_memory(bytes(range(200)))
    for part in (data, data.part(50, 150), data.part(20, 180).part(30, 130)):
        batch = joined([sample_windows(part, batch=3, length=8, seed=1, step=step) for step in range(2)])
        assert batch.starts is not None
        assert torch.equal(batch.data[:, 0], batch.starts) and batch.rows(slice(1, 3)).starts is not None
        assert all(torch.equal(one.data[:, 0], one.starts) for one in (*batch.parts(4), batch.every_second(1)))  # type: ignore[arg-type]
