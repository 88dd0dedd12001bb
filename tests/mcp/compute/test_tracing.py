"""Spans of engine work are children of the request that asked for it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from bitlm_mcp.compute import tracing
from bitlm_mcp.compute.tracing import current_trace, span
from bitlm_mcp.operations.models import save
from tests.mcp.workspaces import server


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """A tracer of this test alone: the provider of a process can be set only once."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(tracing, "_tracer", provider.get_tracer("bitlm"))
    yield exporter
    provider.shutdown()


def test_loading_training_asking_and_saving_are_seen(exporter: InMemorySpanExporter, tmp_path: Path) -> None:
    with server(tmp_path / "state") as made:
        made.data()
        made.create()
    exporter.clear()
    with server(tmp_path / "state") as made:
        with tracing._tracer.start_as_current_span("request") as request:
            made.trained(steps=2)
            made.infer()
            made.completed(save(made.workspace, "c", "m", overwrite=False, pinned=False))
        spans: dict[str, list[ReadableSpan]] = {}
        for found in exporter.get_finished_spans():
            spans.setdefault(found.name, []).append(found)
        assert {name: len(some) for name, some in spans.items()} == {
            "bitlm.load": 1,
            "bitlm.step": 3,  # two, and the look that found the plan at its end
            "bitlm.sample": 1,
            "bitlm.save": 2,
            "request": 1,
        }
        parents = {some.parent.span_id for name, group in spans.items() if name != "request" for some in group if some.parent}
        assert parents == {request.get_span_context().span_id}
        assert all(some.status.is_ok or some.status.status_code is trace.StatusCode.UNSET for some in spans["bitlm.step"])


def test_an_error_is_on_its_span_and_without_a_request_nothing_is_carried(exporter: InMemorySpanExporter) -> None:
    assert current_trace() == {}
    with pytest.raises(KeyError), span("load", {}):
        raise KeyError("x")
    found = exporter.get_finished_spans()[0]
    assert found.parent is None and found.status.status_code is trace.StatusCode.ERROR and found.events
