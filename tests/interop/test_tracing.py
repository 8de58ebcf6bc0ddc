"""One trace crosses Node and Python both ways: BullMQ's OpenTelemetry package beside toril's."""

from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from tests.interop.node import Peer
from tests.support.servers import RedisServer
from toril import Job, Toril
from toril.integrations.opentelemetry import instrument


@pytest.fixture(scope="module")
def node(server: RedisServer) -> Iterator[Peer]:
    running = Peer(6, server.port, program="trace.mjs")
    running.ready()
    yield running
    running.stop()


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
async def app(
    server: RedisServer, prefix: str, exporter: InMemorySpanExporter
) -> AsyncIterator[Toril]:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    async with Toril(server.url, prefix=prefix) as made:
        instrument(made, tracer_provider=provider)
        yield made
    provider.shutdown()


def spans(exporter: InMemorySpanExporter) -> dict[str, dict[str, Any]]:
    """Return what was exported in Python, by name."""
    return {
        span.name: {
            "trace": f"{span.context.trace_id:032x}",
            "span": f"{span.context.span_id:016x}",
            "parent": span.parent and f"{span.parent.span_id:016x}",
        }
        for span in exporter.get_finished_spans()
        if span.context is not None
    }


async def test_a_trace_that_began_in_node_goes_on_in_python(
    app: Toril, node: Peer, prefix: str, exporter: InMemorySpanExporter
) -> None:
    added = await node.ask("add", prefix=prefix, queue="q")
    await app.worker("q", _nothing).run_until_idle()

    there = {s["name"]: s for s in await node.ask("spans") if s["trace"] == added["trace"]}
    here = spans(exporter)["process q"]
    assert set(there) == {"request", "add q.n"}
    assert here["trace"] == added["trace"]
    assert here["parent"] == there["add q.n"]["span"]


async def test_a_trace_that_began_in_python_goes_on_in_node(
    app: Toril, node: Peer, prefix: str, exporter: InMemorySpanExporter
) -> None:
    await app.queue("q").add("n")
    seen = await node.ask("work", prefix=prefix, queue="q")

    added = spans(exporter)["add q.n"]
    there = {s["name"]: s for s in await node.ask("spans") if s["trace"] == added["trace"]}
    assert there["process q"]["parent"] == added["span"]
    assert there["complete q"]["parent"] == there["process q"]["span"]
    assert seen.split("-")[1:3] == [added["trace"], there["process q"]["span"]]


async def test_a_trace_goes_from_node_through_python_back_to_node(
    app: Toril, node: Peer, prefix: str, exporter: InMemorySpanExporter
) -> None:
    @app.queue("in").handler("n")
    async def forward(_: Job[Any]) -> None:
        await app.queue("out").add("n")

    added = await node.ask("add", prefix=prefix, queue="in")
    await app.worker("in").run_until_idle()
    seen = await node.ask("work", prefix=prefix, queue="out")

    here = spans(exporter)
    assert here["add out.n"]["parent"] == here["process in"]["span"]
    assert seen.split("-")[1] == added["trace"]


async def test_neither_side_passes_on_a_trace_that_the_other_one_omits(
    app: Toril, node: Peer, prefix: str, exporter: InMemorySpanExporter
) -> None:
    omitted = await node.ask("add", prefix=prefix, queue="q", omit=True)
    found = await app.queue("q").job(omitted["id"])
    assert found is not None
    assert found.record.options.omit_context
    await app.worker("q", _nothing).run_until_idle()
    assert spans(exporter)["process q"]["trace"] != omitted["trace"]

    await app.queue("q").add("n", omit_context=True)
    seen = await node.ask("work", prefix=prefix, queue="q")
    assert seen.split("-")[1] != spans(exporter)["add q.n"]["trace"]


async def _nothing(_: Job[Any]) -> None:
    return None
