"""Embeddings of n-grams: windows end at their position, start with their document, and touch few rows."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.layers.embedding import MASK, NUM_SYMBOLS, START, NgramEmbedding
from bitlm_core.training.row_adagrad import RowAdagrad


def an_embedding(rows: int = 97) -> NgramEmbedding:
    embedding = NgramEmbedding(4, rows, (2, 3))
    with torch.no_grad():
        embedding.weight.normal_(generator=torch.Generator().manual_seed(0))
    return embedding


def test_a_row_is_that_of_the_last_two_and_of_the_last_three() -> None:
    embedding = an_embedding()
    line = torch.tensor([[5, 6, 7, 5, 6, 7, 9, 6, 7]])
    places = embedding._places(line)
    assert torch.equal(places[0, 2], places[0, 5])  # 6 7, and 5 6 7, again
    assert torch.equal(places[0, 5, 0], places[0, 8, 0]) and not torch.equal(places[0, 5, 1], places[0, 8, 1])
    assert places.min() >= 0 and (places[..., 0] < 97).all() and (places[..., 1] >= 97).all() and places.max() < 2 * 97
    torch.testing.assert_close(embedding(line)[0, 5], embedding.weight[places[0, 5]].sum(dim=0))


def test_what_was_read_before_counts_and_nothing_before_a_start() -> None:
    embedding = an_embedding()
    whole = torch.tensor([[START, 1, 2, 3, START, 4, 5]])
    torch.testing.assert_close(embedding(whole)[:, 3:], embedding(whole[:, 3:], whole[:, 1:3]))
    torch.testing.assert_close(embedding(whole)[:, 4:], embedding(whole[:, 4:]))
    other = torch.tensor([[START, 9, 9, 9, START, 4, 5]])
    assert torch.equal(embedding(other)[:, 4:], embedding(whole)[:, 4:])


def test_hashes_spread() -> None:
    embedding = an_embedding(4096)
    pairs = torch.cartesian_prod(torch.arange(64), torch.tensor([MASK, 0, 255, 97]))
    places = embedding._places(pairs)[:, 1, 0]
    assert len(places.unique()) > 235  # of 256, where chance alone leaves about 248
    assert NUM_SYMBOLS == 258


def test_rows_learn_by_adagrad_and_others_stay() -> None:
    table = torch.nn.Parameter(torch.zeros(6, 2))
    optimizer = RowAdagrad([table], lr=0.5)
    torch.nn.functional.embedding(torch.tensor([1, 1, 4]), table, sparse=True).backward(
        torch.tensor([[2.0, 0.0], [0.0, 2.0], [3.0, 3.0]])
    )
    optimizer.step()
    # Row 1: a = (4 + 4) / 2 = 4, so both its gradients count 1/2 · 1/√4; row 4: a = 9.
    assert table.tolist() == [[0, 0], [-0.5, -0.5], [0, 0], [0, 0], [-0.5, -0.5], [0, 0]]
    assert optimizer.state[table]["sum"].tolist() == [0, 4, 0, 0, 9, 0]
    with pytest.raises(TypeError, match="without a closure"):
        optimizer.step(lambda: 0.0)


def test_rows_are_left_out_in_training_each_as_a_whole() -> None:
    embedding = an_embedding()
    with torch.no_grad():
        embedding.weight.zero_()
        embedding.weight[: embedding.rows, :2], embedding.weight[embedding.rows :, 2:] = 1.0, 1.0  # order 2, order 3
    embedding.dropout, symbols = 0.75, torch.randint(256, (8, 500), generator=torch.Generator().manual_seed(3))
    assert embedding.eval()(symbols).eq(1).all()
    torch.manual_seed(4)
    found = embedding.train()(symbols)
    assert torch.equal(found[..., 0::2], found[..., 1::2]) and set(found.unique().tolist()) == {0.0, 4.0}
    kept = (found[..., ::2] > 0).float()
    # Of 4,000 draws of each order; nine standard deviations are 0.062.
    assert (kept.mean((0, 1)) - 0.25).abs().max() < 0.062
    assert abs(float((kept[..., 0] * kept[..., 1]).mean()) - 0.0625) < 0.035  # independently
