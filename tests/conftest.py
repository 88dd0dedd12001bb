"""Shared pieces: real text, small engines that have learned a little, and a way to run generators to their end."""

from __future__ import annotations

import pydoc_data.topics
import signal
from collections.abc import Callable
from typing import Any

import pytest
import torch

from bitlm_core import (
    ByteData,
    Engine,
    EngineConfig,
    MixingConfig,
    TrainingConfig,
    TrainingPlan,
    bytes_in_memory,
    preset_config,
)
from bitlm_core.steps import finished as run

__all__ = ["run"]


@pytest.fixture(scope="session")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def one_thread() -> None:
    """Two test machines with other loads must agree bit for bit, and barriers between threads are slow."""
    torch.set_num_threads(1)


@pytest.fixture(scope="session", autouse=True)
def ctrl_c_reaches_programs() -> None:
    """What a shell starts in the background ignores SIGINT, and so would every program that tests start and stop."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def text() -> bytes:
    """Real English: the language reference that ships with CPython."""
    topics = pydoc_data.topics.topics
    return "\n".join(topics[name] for name in sorted(topics)).encode()


@pytest.fixture(scope="session")
def training_data(text: bytes) -> ByteData:
    return bytes_in_memory(text[:60_000])


@pytest.fixture(scope="session")
def config_of() -> Callable[..., EngineConfig]:
    """Small engines: `config_of("byte")`, with fields of EngineConfig replaced."""

    def make(architecture: str, **fields: Any) -> EngineConfig:
        window = 64 if architecture == "byte" else 32 * 9
        model = preset_config("tiny", architecture, d_model=64, nhead=1, max_seq_len=window)  # type: ignore[arg-type]
        training = TrainingConfig(batch_size=8, warmup_steps=5, telemetry_every=5)
        return EngineConfig(**{"model": model, "training": training, "mixing": MixingConfig(memory_mib=16), **fields})

    return make


@pytest.fixture(scope="session", params=["byte", "bit"])
def architecture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def after_40_steps(config: EngineConfig, data: ByteData) -> Engine:
    engine = Engine(config)
    for _ in engine.train_steps(data, TrainingPlan(steps=40)):
        pass
    return engine


@pytest.fixture(scope="session")
def trained(architecture: str, config_of: Callable[..., EngineConfig], training_data: ByteData) -> Engine:
    """An engine of each architecture after 40 steps. Tests must leave it as it is."""
    return after_40_steps(config_of(architecture), training_data)


@pytest.fixture(scope="session")
def byte_engine(config_of: Callable[..., EngineConfig], training_data: ByteData) -> Engine:
    """The byte one of these. Tests must leave it as it is."""
    return after_40_steps(config_of("byte"), training_data)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--judges", choices=["none", "python", "all"], default="none", help="outside judges that are installed")
    parser.addoption("--browser", action="store_true", help="also the page in a browser, which is installed")
    parser.addoption("--calls", type=int, default=4000, help="how many tool calls are made up from the schemas")
    parser.addoption("--kills", type=int, default=10, help="how many servers are killed with SIGKILL at random moments")
    parser.addoption("--faults-seed", type=int, default=1, help="where the random faults begin")
    parser.addoption("--slow", action="store_true", help="also what is marked slow")
    parser.addoption("--update-snapshots", action="store_true", help="rewrite the recorded schemas of the tools")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--slow"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    items[:] = [item for item in items if item not in slow]
