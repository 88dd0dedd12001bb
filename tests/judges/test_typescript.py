"""Both generations of the TypeScript SDK go the main path, over every transport and in both eras."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.judges.conftest import HERE, serve_command

LIMIT_S = 200


JOURNEYS = [
    (sdk, era, transport)
    for sdk, era in (("v1", "legacy"), ("v2", "legacy"), ("v2", "modern"))
    for transport in ("stdio", "sse", "http")
    if (era, transport) != ("modern", "sse")  # SSE is a transport of the legacy era
]


@pytest.mark.parametrize(("sdk", "era", "transport"), JOURNEYS)
def test_the_journey(sdk: str, era: str, transport: str, base: str, programs: dict[str, str], tmp_path: Path) -> None:
    target = {"stdio": serve_command(tmp_path / "state"), "sse": [f"{base}/sse"], "http": [f"{base}/mcp"]}[transport]
    found = subprocess.run(
        ["node", str(HERE / "typescript_journey.mjs"), sdk, transport, era, *target],
        env=programs, capture_output=True, text=True, timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert found.returncode == 0, found.stderr[-3000:]
    assert {"init_model", "train_step", "infer", "infer_long"} <= set(json.loads(found.stdout))
