"""What operators watch: metrics for Prometheus, and whether the server is ready.

Metrics come from the same snapshot that everyone reads, when they are asked for; only tool calls are counted as they happen.
"""

from __future__ import annotations

from collections import Counter as Counted
from collections.abc import Iterable

import anyio
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_LATEST
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.process_collector import ProcessCollector
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from bitlm_core import BitLMError
from bitlm_mcp.activity import Call
from bitlm_mcp.workspace import Workspace

_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 45.0)
_LAG_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
LAG_EVERY_S = 0.1
_OF_A_MODEL = {
    "step": "Optimizer steps.",
    "loss": "Training loss of the network, nats per byte.",
    "bits_per_byte": "Training loss of the network, bits per byte.",
    "bits_per_byte_mixed": "With context mixing, on bytes new to it.",
    "bits_per_byte_held_out": "The network alone, on the held-out part.",
    "k": "Negentropy, 0 to 1.",
    "c": "LZ76 complexity, 0 to 1.",
    "s": "Symbiosis with the training data, 0 to 1.",
    "transition_rate": "Share of neighbouring predicted bits that differ.",
    "symbiosis_kl": "Divergence from the training data's bytes, nats.",
    "composite": "K, C, S weighed by lambda, 0 to 1.",
    "attention_entropy": "Of attention's map, nats.",
    "mean_layers": "Layers per position of a model that halts.",
    "patch_mean": "Bytes per patch of a byte-latent model.",
    "patch_spread": "Standard deviation of its patches' sizes, bytes.",
    "loss_raw": "Training loss of windows shown as they are, nats per byte.",
    "loss_compressed": "Training loss of windows that travelled compressed, nats per byte.",
    "loss_direct": "Training loss of run-length streams, nats per byte of stream.",
    "ratio_compressed": "Bits of run-length streams per bit of windows that travelled.",
    "ratio_direct": "Bits of run-length streams per bit of windows they were shown for.",
}


class Monitoring:
    """The metrics of one server process."""

    def __init__(self, workspace: Workspace, tools: Iterable[str]) -> None:
        self._workspace = workspace
        self._tools = frozenset(tools)
        self._registry = CollectorRegistry()
        self._calls = Counter("bitlm_tool_calls", "Tool calls.", ("tool", "outcome"), registry=self._registry)
        self._seconds = Histogram(
            "bitlm_tool_seconds", "Duration of tool calls.", ("tool",), buckets=_SECONDS, registry=self._registry
        )
        self._lag = Histogram(
            "bitlm_event_loop_lag_seconds", "How late the event loop is.", buckets=_LAG_SECONDS, registry=self._registry
        )
        ProcessCollector(registry=self._registry)
        self._registry.register(_State(workspace))

    def observe(self, call: Call) -> None:
        """Count a call. Names that are none of our tools share one label, so that callers cannot make series at will."""
        tool = call.tool if call.tool in self._tools else "unknown"
        self._calls.labels(tool, call.outcome).inc()
        self._seconds.labels(tool).observe(call.duration_ms / 1000)

    async def watch_loop(self) -> None:
        """Measure for as long as the server lives how late the event loop wakes."""
        while True:
            due = anyio.current_time() + LAG_EVERY_S
            await anyio.sleep_until(due)
            self._lag.observe(anyio.current_time() - due)

    def routes(self) -> list[BaseRoute]:
        """/metrics and /ready."""
        return [Route("/metrics", self._metrics), Route("/ready", self._ready)]

    async def _metrics(self, _: Request) -> Response:
        body = await run_in_threadpool(generate_latest, self._registry)
        return Response(body, media_type=CONTENT_TYPE_LATEST)

    async def _ready(self, _: Request) -> JSONResponse:
        """Whether calls should be sent here: not when about to stop, nor when the state directory cannot be read."""
        if self._workspace.leaving:
            return JSONResponse({"status": "stopping"}, status_code=503)
        try:
            await run_in_threadpool(self._workspace.presence.servers)
        except BitLMError:
            return JSONResponse({"status": "the state directory cannot be read"}, status_code=503)
        return JSONResponse({"status": "ready"})


class _State:
    """The snapshot as gauges."""

    def __init__(self, workspace: Workspace) -> None:
        self._workspace = workspace

    def collect(self) -> Iterable[Metric]:
        snapshot = self._workspace.snapshot
        for name, text in _OF_A_MODEL.items():
            gauge = GaugeMetricFamily(f"bitlm_model_{name}", text, labels=("model",))
            for model in snapshot.models.values():
                value = model.step if name == "step" else model.latest(name)
                if value is not None:
                    gauge.add_metric((model.model_id,), value)
            yield gauge
        jobs = GaugeMetricFamily("bitlm_jobs", "Jobs that are remembered, by status.", labels=("status",))
        for status, count in sorted(Counted(job.status for job in snapshot.jobs.values()).items()):
            jobs.add_metric((status,), count)
        yield jobs
        for what in ("models", "datasets", "checkpoints"):
            yield GaugeMetricFamily(f"bitlm_{what}", f"How many {what} there are.", value=len(getattr(snapshot, what)))
