"""diffusion_sample on small engines: what is known stays, what is asked for happens, and it is told what was done."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from bitlm_core import ConfigError, DiffusionSampling, Engine, Filling, FillingState, Floors, Template, bits_to_bytes
from bitlm_core.generation.denoising import Canvas, mask_steps
from bitlm_core.models.interface import LanguageModel, MaskedPrediction


def filled(engine: Engine, template: Template, **sampling: Any) -> tuple[Filling, list[FillingState]]:
    steps, states = engine.diffusion_sample_steps(template, DiffusionSampling(**sampling)), []
    while True:
        try:
            states.append(next(steps))
        except StopIteration as stop:
            return stop.value[0], states


GAP = Template.between(b"The ", 12, b" end")


@pytest.mark.parametrize("schedule", ["linear", "cosine", "exp"])
@pytest.mark.parametrize("steps", [1, 7, 40])
def test_a_gap_is_filled_in_as_many_passes_as_asked_for_and_at_most_one_per_byte(
    trained: Engine, schedule: str, steps: int
) -> None:
    found, states = filled(trained, GAP, schedule=schedule, steps=steps, seed=1)
    assert len(found.data) == len(found.drawn) == 12
    assert found == filled(trained, GAP, schedule=schedule, steps=steps, seed=1)[0]
    assert found.steps == len(states) == min(steps, 12)
    assert (found.windows, found.rehidden, found.order) == (1, 0, "spread")
    assert states[-1].share == 1.0 and [state.share for state in states] == sorted({state.share for state in states})


def test_states_show_more_and_more_of_what_comes_out(trained: Engine) -> None:
    template = Template.marked(b"The ____ of __", prefix=b"so. ")
    found, states = filled(trained, template, steps=3)
    open_bytes = [state.known.count(0) for state in states]
    assert open_bytes == [4, 2, 0] and states[-1].data == found.data
    for state in states:
        places = zip(state.data, state.known, found.data, strict=True)
        assert all(byte == end if known == 255 else known == 0 for byte, known, end in places)
    assert found.data[:4] == b"The " and found.data[8:12] == b" of " and found.drawn == found.data[4:8] + found.data[12:]


def test_known_bits_of_a_byte_are_kept(trained: Engine) -> None:
    letters = Template(b"The king was here", bytes([255, 0b1111_0000] * 8 + [0b1110_0001]))
    for sampling in (
        {},
        {"temperature": 0.0},
        {"temperature": 5e-324},
        {"remask": 0.5, "steps": 8},
        {"method": "flip"},
        {"constraint": "utf8"},
    ):
        found, _ = filled(trained, letters, **sampling)
        both = zip(found.data, letters.data, letters.known, strict=True)
        assert all((byte ^ given) & known == 0 for byte, given, known in both) and len(found.drawn) == 9


def test_what_is_longer_than_the_window_is_filled_window_by_window(trained: Engine) -> None:
    size = trained.config.model.max_bytes
    template = Template.between(b"The " * size, 3 * size, b" end." * 3)
    found, states = filled(trained, template, steps=4)
    assert len(found.data) == 3 * size and found.windows > 3 and found.steps == len(states) == 4 * found.windows
    first = states[3].known
    assert first == b"\xff" * (size // 2) + bytes(3 * size - size // 2)
    apart = Template.marked(b"_" + b"a" * 2 * size + b"__")
    assert filled(trained, apart, steps=4)[0].windows == 2


def test_windows_see_the_end_of_what_was_filled_before(trained: Engine) -> None:
    size = trained.config.model.max_bytes
    # The first byte and the last three are open, windows apart: what the last become depends on the bytes between.
    templates = [Template.marked(b"_" + byte * size + b"___") for byte in (b"a", b"Q")]
    assert len({filled(trained, template, steps=2, seed=4)[0].bits_per_byte for template in templates}) == 2


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_utf8_is_valid_together_with_what_is_known_even_from_noise(config_of: Any, temperature: float) -> None:
    engine, euro = Engine(config_of("byte")), "€".encode()
    size = engine.config.model.max_bytes
    template = Template.marked(b"_____a" + b"_" * 2 * size, prefix=euro[:1], suffix=euro[2:])
    found, _ = filled(engine, template, constraint="utf8", temperature=temperature, steps=5, remask=0.3)
    assert (euro[:1] + found.data + euro[2:]).decode() and found.rehidden > 0
    with pytest.raises(ConfigError, match="no filling makes this valid UTF-8"):
        filled(engine, Template.between(b"\xff", 4), constraint="utf8")


def test_parity_is_computed_and_corrections_counted_or_read_as_it_comes(trained: Engine) -> None:
    found, _ = filled(trained, GAP, seed=3)
    assert bits_to_bytes(found.bits).data == found.drawn  # strict: every group adds up
    if not trained.model.predicts_parity:
        assert found.parity_corrections == 0
        with pytest.raises(ConfigError, match="parity='read'"):
            filled(trained, GAP, parity="read")
        return
    read, _ = filled(trained, GAP, parity="read", seed=3)
    wrong = bits_to_bytes(read.bits, errors="report")
    assert read.drawn == found.drawn == wrong.data and read.parity_corrections == 0
    assert len(wrong.bad_groups) == found.parity_corrections > 0


def test_it_is_told_where_parity_was_read_out_wrong(trained: Engine) -> None:
    template = Template.marked(b"The _____ of _____", prefix=b"so. ", suffix=b" it")
    found, _ = filled(trained, template, seed=3)
    assert len(found.parity_places) == found.parity_corrections
    opened = [place for place, known in enumerate(template.known) if not known]
    assert set(found.parity_places) <= set(opened)
    if trained.model.predicts_parity:
        read, _ = filled(trained, template, parity="read", seed=3)
        wrong = bits_to_bytes(read.bits, errors="report").bad_groups
        assert read.parity_places == found.parity_places == tuple(opened[group] for group in wrong) != ()


@pytest.mark.parametrize("sampling", [{"remask": 0.5}, {"method": "flip"}, {"temperature": 0.0, "steps": 14}, {"steps": 3}])
def test_a_byte_was_revealed_where_the_states_show_it_for_good(trained: Engine, sampling: dict[str, Any]) -> None:
    size = trained.config.model.max_bytes
    template = Template.marked(b"The ______ of __" + b" and" * (size // 4) + b"___", prefix=b"so. ")
    found, states = filled(trained, template, seed=2, **sampling)
    for place, told in enumerate(found.revealed_at):
        final = [state.known[place] == 255 and state.data[place] == found.data[place] for state in states]
        if template.known[place]:
            assert told == 0 and all(final)
        else:
            assert told == len(final) - final[::-1].index(False) + 1 if False in final else 1
    last = max(found.revealed_at)
    assert found.windows == 2 and (last <= found.steps if found.order is None else last == found.steps)


def test_what_was_drawn_is_judged_and_the_known_part_is_not(trained: Engine) -> None:
    engine = Engine(trained.config.model_copy(update={"floors": Floors(c=1.0)}))
    engine.model.load_state_dict(trained.model.state_dict())
    engine.reference = trained.reference
    steps = engine.diffusion_sample_steps(Template.marked(b"_" * 16 + b"known" * 40))
    with pytest.raises(StopIteration) as end:
        while True:
            next(steps)
    assert end.value.value[1] is not None and not end.value.value[1].judged  # 16 bytes are too few


def test_flipping_goes_from_noise_to_what_the_network_makes_of_it(trained: Engine) -> None:
    found, states = filled(trained, GAP, method="flip", steps=9, temperature=0.0)
    assert found.steps == len(states) == 9 and found.order is None and len(found.data) == 12
    assert states[0].data != states[-1].data == found.data
    assert found.bits_per_byte > filled(trained, GAP, steps=9, temperature=0.0)[0].bits_per_byte


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"method": "flip", "order": "random"}, "neither order nor remask"),
        ({"method": "flip", "remask": 0.1}, "neither order nor remask"),
        ({"method": "flip", "constraint": "utf8"}, "use method='mask'"),
        ({"steps": 65}, "less than or equal to 64"),
        ({"remask": 1.0}, "less than 1"),
    ],
)
def test_options_that_do_not_fit_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        DiffusionSampling(**options)


class Told(LanguageModel):
    """Knows "ab…" by heart: each byte with the probability it is told, whatever is visible."""

    def __init__(self, log_odds: torch.Tensor) -> None:
        torch.nn.Module.__init__(self)
        self.log_odds, self.asked = log_odds, list[torch.Tensor]()

    def predict_masked(self, data_BT: torch.Tensor, known_BT: torch.Tensor, **_: Any) -> MaskedPrediction:
        self.asked.append(known_BT[0].clone())
        nodes = self.log_odds[None, :, None].repeat(1, 1, 256)
        return MaskedPrediction(nodes, None)

    path_logits = predicted_nodes = open_decoder = symbols = _predict_masked = None  # type: ignore[assignment]


def passes(order: str | None, remask: float = 0.0, seed: int = 0) -> tuple[list[list[int]], list[int]]:
    """The places hidden before each of four passes over eight bytes that are the surer the later, and bytes hidden again."""
    model = Told(torch.arange(1.0, 9.0))
    canvas = Canvas.of(bytes(8), bytes(8))
    sampling = DiffusionSampling(steps=4, order=order, remask=remask, temperature=0)  # type: ignore[arg-type]
    rehidden = list(mask_steps(model, canvas, sampling, torch.Generator().manual_seed(seed), None))
    return [np.flatnonzero(known != 255).tolist() for known in model.asked], rehidden


def test_orders_reveal_what_they_say() -> None:
    least_sure_last = [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5], [0, 1, 2, 3], [0, 1]]
    assert passes("confidence") == (least_sure_last, [0, 0, 0, 0])
    assert passes(None) == passes("confidence")  # at temperature 0, which this is
    for seed in range(3):  # every fourth byte at once, so that those drawn side by side are far apart
        assert passes("spread", seed=seed)[0] == [[0, 1, 2, 3, 4, 5, 6, 7], [1, 2, 3, 5, 6, 7], [2, 3, 6, 7], [3, 7]]
    for order in ("random", "annealed"):
        orders = {str(passes(order, seed=seed)[0]) for seed in range(5)}
        assert len(orders) > 1
    # By chance alone each would be the last in 10 of 40 orders. Noise of scale 4 · 1 … 1/4 leaves the surest early.
    last = [passes("annealed", seed=seed)[0][-1] for seed in range(40)]
    assert sum(0 in places for places in last) > 20 > 10 > sum(7 in places for places in last)


def test_the_least_likely_of_the_revealed_are_hidden_again_and_drawn_again() -> None:
    asked, rehidden = passes("confidence", remask=0.9)
    assert rehidden == [0, 1, 1, 1]  # 0.9 · (1 − k/4) of 2, 4 and 6 bytes, in whole bytes
    assert asked == [[0, 1, 2, 3, 4, 5, 6, 7], [0, 1, 2, 3, 4, 5, 6], [0, 1, 2, 3, 4], [0, 1, 2]]
