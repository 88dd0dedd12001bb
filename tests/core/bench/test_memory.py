"""Activation memory: flat in depth when run reversibly, in proportion to it when run plainly."""

from __future__ import annotations

import pytest

from bitlm_core.bench.cases import grid
from bitlm_core.bench.memory import activation_bytes, activations, depth_ratios

SMALL = {"d_model": 32, "nhead": 1, "max_seq_len": 64, "chunk_size": 16, "batch_size": 1, "ngram_rows": 0}


@pytest.mark.parametrize("use_autocast", [True, False])
def test_a_reversible_network_of_24_layers_needs_what_one_of_4_does(use_autocast: bool) -> None:
    (case,) = grid("tiny", "byte", {}, SMALL | {"use_autocast": use_autocast})
    reversible, plain = depth_ratios(case)
    assert reversible <= 1.1
    assert plain > 3


def test_each_way_to_run_is_told_apart() -> None:
    ways = {"reversible": [True, False], "use_checkpoint": [True, False]}
    plain, kept, reversible = (
        next(grid("tiny", "byte", {}, SMALL | {"reversible": a, "use_checkpoint": b}))
        for a, b in ((False, False), (False, True), (True, False))
    )
    assert ways.keys() <= type(plain.model).model_fields.keys()
    found = [result.deep_bytes for result in activations([reversible, kept, plain])]
    assert found == sorted(found) and found[0] < found[2] / 3


def test_tables_with_sparse_gradients_are_counted_without_them() -> None:
    few, many = (next(grid("tiny", "byte", {}, SMALL | {"ngram_rows": rows})) for rows in (16, 65_536))
    assert activation_bytes(many) == pytest.approx(activation_bytes(few), rel=0.05)
