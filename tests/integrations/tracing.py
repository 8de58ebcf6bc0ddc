"""Handlers that run in child processes whose module sets up OpenTelemetry."""

import os
from collections.abc import Sequence

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult


class FileExporter(SpanExporter):
    """Append each span to the file that the environment names."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(os.environ["TRACING_TEST_FILE"], "a", encoding="utf-8") as file:
            for span in spans:
                context = span.get_span_context()
                assert context is not None
                file.write(f"{span.name}|{context.trace_id:032x}|{os.getpid()}\n")
        return SpanExportResult.SUCCESS


def set_up() -> None:
    """Export the spans of this process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)


if "TRACING_TEST_PARENT" in os.environ and os.environ["TRACING_TEST_PARENT"] != str(os.getpid()):
    set_up()


def compute() -> int:
    """Run a span of the handler's own, and return the process."""
    with trace.get_tracer("tests").start_as_current_span("inner"):
        return os.getpid()
