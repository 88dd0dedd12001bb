"""Tables of groups of places: every group has rows of its own, and the longer it is, the more."""

from __future__ import annotations

import torch

from bitlm_core.layers.neighbours import GroupEmbedding, beside

GROUPS = ((-1, 1), (-2, -1, 1), (1, 2))


def test_a_place_more_doubles_the_rows_and_groups_share_none() -> None:
    layer = GroupEmbedding(8, 64, GROUPS)
    assert layer.rows == [64, 128, 64] and layer.weight.shape == (256, 8)
    assert GroupEmbedding(8, 64, ((-2, -1, 1, 2),)).rows == [256]
    found = beside(torch.randint(0, 256, (4, 60), generator=torch.Generator().manual_seed(0)), None, (-2, -1, 1, 2))
    layer(found).sum().backward()
    rows = layer.weight.grad.coalesce().indices()[0]  # type: ignore[union-attr]
    met = [int(((rows >= first) & (rows < first + count)).sum()) for first, count in ((0, 64), (64, 128), (192, 64))]
    # 240 random groups leave of n rows (1 − 1/n)^240 unmet: 1.5 of 64 and 19.6 of 128, with a deviation of at most 4.
    assert sum(met) == len(rows) and met[0] > 52 and met[2] > 52 and 84 < met[1] < 128


def test_a_group_is_told_by_all_of_its_places_alone() -> None:
    layer = GroupEmbedding(4, 1 << 12, ((-1, 2),))
    torch.nn.init.normal_(layer.weight, generator=torch.Generator().manual_seed(0))
    data = torch.arange(10, 22)[None]
    before = layer(beside(data, None, (-1, 2)))
    for changed in range(12):
        other = data.clone()
        other[0, changed] = 99
        moved = (layer(beside(other, None, (-1, 2))) != before).any(dim=-1)[0].nonzero().squeeze(1).tolist()
        assert moved == sorted(place for place in (changed + 1, changed - 2) if place >= 0)
