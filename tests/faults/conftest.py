"""How many kills, from which seed; and what they showed, in one line at the end."""

from __future__ import annotations

from collections import Counter
from typing import Any

import pytest

LIVES = 10
"""Servers that are killed one after the other on the same state directory."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "story_seed" in metafunc.fixturenames:
        seed, kills = metafunc.config.getoption("--faults-seed"), metafunc.config.getoption("--kills")
        metafunc.parametrize("story_seed", [f"{seed}/{number}" for number in range(-(-kills // LIVES))])


def pytest_terminal_summary(terminalreporter: Any) -> None:
    totals: Counter[str] = Counter()
    for report in (report for reports in terminalreporter.stats.values() for report in reports):
        if getattr(report, "when", None) == "call":
            totals.update(dict(report.user_properties))
    if totals["kills"]:
        terminalreporter.write_line(
            "{kills} kills, {acknowledged} changes acknowledged before, {verified} restarts verified".format(**totals)
        )
