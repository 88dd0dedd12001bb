"""The gate on the compute side: what was calibrated is demanded only once it is saved."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from bitlm_core import Calibration, CheckpointError, EngineConfig, Floors
from bitlm_mcp.compute.safety import adopted


def test_floors_that_could_not_be_saved_are_not_demanded() -> None:
    engine: Any = SimpleNamespace(config=EngineConfig(), standard=None)
    found = Calibration(Floors(c=0.1), np.ones((256, 256), np.int64), 40)
    with pytest.raises(CheckpointError), adopted(engine, found):
        assert engine.config.floors == found.floors and engine.standard is found.standard
        raise CheckpointError("no room", name="m")
    assert engine.config.floors == Floors() and engine.standard is None
    with adopted(engine, found):
        pass
    assert engine.config.floors == found.floors and engine.standard is found.standard
