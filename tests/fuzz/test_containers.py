"""The fuzzing itself, for a few thousand mutations (`make fuzz` runs a hundred thousand), and that it can fail."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from tests.fuzz.containers import WrongOutputError, attempt, fuzz, subjects


def test_a_few_thousand_mutations() -> None:
    report = fuzz(2000, 7, network=False)
    assert report["mutations"] == 2000 and report["first_finds"] == []
    reasons = report["by_reason"]
    assert isinstance(reasons, dict) and {"damaged", "version", "model"} <= reasons.keys()


def test_every_subject_decodes_as_it_is() -> None:
    for subject in subjects():
        assert set(attempt(subject, subject.container, random.Random(0), False)) == {"right"}


def test_wrong_output_would_be_seen() -> None:
    for subject in subjects():
        with pytest.raises(WrongOutputError):
            attempt(replace(subject, content=b"else"), subject.container, random.Random(0), False)
