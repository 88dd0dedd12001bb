"""What most likely stood in gaps: against the same by hand, row by row, and what it must not look at."""

from __future__ import annotations

import pytest
import torch

from bitlm_core.generation import likeliest
from bitlm_core.generation.likeliest import BEGINNINGS, FIRST_LOOK, Likeliest, likeliest_steps
from bitlm_core.models.interface import LanguageModel
from bitlm_core.models.output import conditioned_log_probs
from bitlm_core.steps import finished
from tests.core.models.networks import a_model, some_bytes

PLACES = [5, 6, 9]


def gaps(rows: int, mask: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    data, known = some_bytes(rows), torch.full((rows, 24), 255)
    known[:, PLACES] = mask
    return data & known, known


def found(model: LanguageModel, data: torch.Tensor, known: torch.Tensor) -> Likeliest:
    return finished(likeliest_steps(model, data, known))


@torch.no_grad()
def by_hand(model: LanguageModel, data: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    """[places, 256] the weight of each byte, of one row."""

    def told(now: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        nodes = model.predict_masked(now[None], seen[None]).nodes[0, PLACES].double()
        return conditioned_log_probs(nodes, now[PLACES], seen[PLACES])

    first = told(data, known)
    begin = max(range(len(PLACES)), key=lambda index: float(first[index].max()))
    rows, scores = [], []
    for byte in first[begin].topk(BEGINNINGS).indices.tolist():
        now, seen, index, score = data.clone(), known.clone(), begin, 0.0
        for _ in PLACES:
            score += float(told(now, seen)[index, byte])
            now[PLACES[index]], seen[PLACES[index]] = byte, 255
            left = [index for index, place in enumerate(PLACES) if seen[place] != 255]
            if left:
                coming = told(now, seen)
                index = max(left, key=lambda index: float(coming[index].max()))
                byte = int(coming[index].argmax())
        rows.append(now[PLACES])
        scores.append(score)
    weight = FIRST_LOOK * first.exp()
    for row, share in zip(rows, torch.tensor(scores, dtype=torch.float64).softmax(0), strict=True):
        weight[range(len(PLACES)), row] += share
    return weight / (1 + FIRST_LOOK)


@pytest.mark.parametrize("mask", [0, 0b1010_0000])
def test_rows_together_are_as_each_by_hand(mask: int) -> None:
    model = a_model("byte")
    data, known = gaps(3, mask)
    together = found(model, data, known)
    assert together.places.tolist() == [PLACES] * 3
    for row in range(3):
        expected = by_hand(model, data[row], known[row])
        assert torch.equal(together.bytes[row], expected.argmax(dim=1))
        torch.testing.assert_close(together.prob[row], expected.max(dim=1).values, rtol=1e-4, atol=1e-6)
    assert (together.bytes & mask == data[:, PLACES] & mask).all()


def test_it_takes_a_pass_per_byte_and_never_sees_what_is_hidden() -> None:
    model = a_model("byte")
    data, known = gaps(2)
    assert list(likeliest_steps(model, data, known)) == [1, 2, 3]
    secret = data.clone()
    secret[:, PLACES] = 77
    assert torch.equal(found(model, secret, known).bytes, found(model, data, known).bytes)
    assert (secret[:, PLACES] == 77).all() and (known[:, PLACES] == 0).all()  # what is given stays


def test_one_byte_is_the_likeliest_of_the_first_look(monkeypatch: pytest.MonkeyPatch) -> None:
    model = a_model("byte")
    data, known = some_bytes(2), torch.full((2, 24), 255)
    known[:, 7] = 0
    for beginnings in (1, 4):
        monkeypatch.setattr(likeliest, "BEGINNINGS", beginnings)
        nodes = model.predict_masked(data, known).nodes[:, 7]
        expected = conditioned_log_probs(nodes, data[:, 7], known[:, 7]).argmax(dim=1)
        assert torch.equal(found(model, data, known).bytes[:, 0], expected)
