"""The compute side in a thread of this process, which starts with the first command."""

from __future__ import annotations

import logging
import threading

from bitlm_core import ConfigError
from bitlm_mcp.compute.commands import Command
from bitlm_mcp.compute.executor import Executor, Steps
from bitlm_mcp.compute.scheduler import Report, Scheduler, Urgency
from bitlm_mcp.settings import Device

log = logging.getLogger("bitlm.compute")


class ThreadedCompute:
    """A `Compute`; events are reported in its thread."""

    def __init__(self, report: Report, threads: int | None, device: Device) -> None:
        self._threads, self._device = threads, device
        self._executor: Executor | None = None
        self._scheduler = Scheduler(self._execute, report)
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def submit(self, task_id: str, urgency: Urgency, command: Command) -> None:
        """Queue a command."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._scheduler.run, name="bitlm-compute", daemon=True)
                self._thread.start()
        self._scheduler.submit(task_id, urgency, command)

    def stop_task(self, task_id: str) -> None:
        """End a command at its next safe point."""
        self._scheduler.stop_task(task_id)

    def close(self, timeout_s: float) -> None:
        """End all commands at their next safe points and wait for the thread to end."""
        self._scheduler.close()
        if self._thread is not None:
            self._thread.join(timeout_s)

    def _execute(self, command: Command) -> Steps:
        if self._executor is None:
            self._executor = Executor(prepare(self._threads, self._device))
        return self._executor.execute(command)


def prepare(threads: int | None, device: Device) -> str:
    """Load torch: the lazy door, which nothing passes before the first command; the name of the device to compute on.

    Raises what the import raises, and ConfigError for a device that is not there.
    """
    import torch

    if threads:
        torch.set_num_threads(threads)
    if device == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if device == "cuda":
        raise ConfigError(
            f"--device cuda was given, and torch {torch.__version__} finds no CUDA device: give --device auto or cpu, or check "
            "the driver and which torch is installed"
        )
    return "cpu"
