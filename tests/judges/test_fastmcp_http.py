"""fastmcp's client over streamable HTTP, in both eras: with all judges, as the test command has no time for more than two."""

from __future__ import annotations

import pytest

from tests.judges.test_fastmcp import goes_the_main_path


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_the_journey_over_http(mode: str, base: str, programs: dict[str, str]) -> None:
    goes_the_main_path(mode, [f"{base}/mcp"], programs)
