"""fastmcp's client over SSE and streamable HTTP: with all judges, as the test command has no time for more than one of them."""

from __future__ import annotations

import pytest

from tests.judges.test_fastmcp import goes_the_main_path


def test_the_journey_over_sse(base: str, programs: dict[str, str]) -> None:
    goes_the_main_path("legacy", [f"{base}/sse"], programs)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_journey_over_http(mode: str, base: str, programs: dict[str, str]) -> None:
    goes_the_main_path(mode, [f"{base}/mcp"], programs)
