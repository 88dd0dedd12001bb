"""OpenTelemetry spans of engine work (load, step, sample, save), as children of the request that asked for it.

The parent travels with the command as a W3C trace context, so it crosses threads and processes. Spans are never made the
current one: commands take turns in one thread, and a span that lasts over a safe point would catch the work of others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from opentelemetry import trace
from opentelemetry.propagate import extract, inject
from opentelemetry.trace import Span

_tracer = trace.get_tracer("bitlm")


def current_trace() -> dict[str, str]:
    """The trace context of whoever asks; empty where nothing is traced."""
    carrier: dict[str, str] = {}
    inject(carrier)
    return carrier


@contextmanager
def span(name: str, parent: Mapping[str, str], **attributes: str | int) -> Iterator[Span]:
    """A span for the time of the block; an exception that leaves it is recorded."""
    made = _tracer.start_span(f"bitlm.{name}", extract(parent), attributes=attributes)
    try:
        yield made
    except Exception as error:
        made.record_exception(error)
        made.set_status(trace.StatusCode.ERROR, type(error).__name__)
        raise
    finally:
        made.end()
