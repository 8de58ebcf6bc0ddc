"""OpenTelemetry: spans of adds and attempts, one trace, and metrics."""

import asyncio
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from tests.integrations import tracing
from tests.support.servers import fresh_prefix, shared_server
from toril import ConfigError, Job, Snooze, Toril
from toril.integrations import opentelemetry
from toril.integrations.opentelemetry import instrument


class Recorder:
    """A process's tracing: its tracer, and what it has exported."""

    def __init__(self) -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.reader = InMemoryMetricReader()
        self.meters = MeterProvider([self.reader])
        self.tracer = self.provider.get_tracer("tests")

    def instrument(self, app: Toril, **options: Any) -> None:
        """Instrument an app with these providers."""
        instrument(app, tracer_provider=self.provider, meter_provider=self.meters, **options)

    def spans(self, name: str) -> list[ReadableSpan]:
        """Return the spans of a name, in the order of their ends."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]

    def span(self, name: str) -> ReadableSpan:
        """Return the only span of a name."""
        (one,) = self.spans(name)
        return one

    def points(self, name: str) -> dict[str, Any]:
        """Return the points of a metric by the values of their attributes, sorted by name."""
        data = self.reader.get_metrics_data()
        assert data is not None
        return {
            "|".join(str(value) for _, value in sorted((point.attributes or {}).items())): point
            for resource in data.resource_metrics
            for scope in resource.scope_metrics
            for metric in scope.metrics
            if metric.name == name
            for point in metric.data.data_points
        }


def trace_of(span: ReadableSpan) -> int:
    context = span.get_span_context()
    assert context is not None
    return context.trace_id


def is_child(span: ReadableSpan, parent: ReadableSpan) -> bool:
    context = parent.get_span_context()
    assert context is not None
    return span.parent is not None and span.parent.span_id == context.span_id


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    made = Recorder()
    yield made
    made.meters.shutdown()
    made.provider.shutdown()


@pytest.fixture(params=["memory", "redis"])
async def app(request: pytest.FixtureRequest) -> Any:
    redis = request.param == "redis"
    url, prefix = (shared_server().url, fresh_prefix()) if redis else (":memory:", None)
    async with Toril(url, prefix=prefix) as made:
        yield made


async def test_one_trace_goes_from_the_request_to_what_the_handler_does(
    app: Toril, recorder: Recorder, caplog: pytest.LogCaptureFixture
) -> None:
    recorder.instrument(app)

    @app.task
    async def render(page: int) -> int:
        with recorder.tracer.start_as_current_span("inner"):
            await asyncio.sleep(0)
            return page

    @app.task
    def shrink(page: int) -> int:
        with recorder.tracer.start_as_current_span("inner"):
            return page

    with recorder.tracer.start_as_current_span("request") as request:
        jobs = [await render.enqueue(1), await shrink.enqueue(2)]
    await app.worker().run_until_idle()

    for job in jobs:
        name = f"add default.{job.name}"
        added = recorder.span(name)
        (processed,) = [
            span
            for span in recorder.spans("process default")
            if (span.attributes or {})["messaging.message.id"] == job.id
        ]
        assert trace_of(added) == trace_of(processed) == request.get_span_context().trace_id
        assert added.kind is SpanKind.PRODUCER
        assert processed.kind is SpanKind.CONSUMER
        assert is_child(processed, added)
        assert sum(is_child(inner, processed) for inner in recorder.spans("inner")) == 1
        assert added.attributes is not None
        assert dict(added.attributes) == {
            "messaging.system": "toril",
            "messaging.operation.name": "add",
            "messaging.operation.type": "send",
            "messaging.destination.name": "default",
            "messaging.message.id": job.id,
            "bullmq.queue.name": "default",
            "bullmq.queue.operation": "add",
            "bullmq.job.name": job.name,
            "bullmq.job.id": job.id,
        }
    assert [each for each in caplog.records if each.name.startswith("opentelemetry")] == []


async def test_later_attempts_begin_a_trace_that_is_linked(app: Toril, recorder: Recorder) -> None:
    recorder.instrument(app)

    @app.task(attempts=2, backoff=0)
    async def flaky(job: Job) -> None:
        if job.attempt == 1:
            raise ValueError("first")

    await flaky.enqueue()
    await app.worker().run_until_idle()

    added = recorder.span("add default.flaky")
    first, second = recorder.spans("process default")
    assert trace_of(first) == trace_of(added)
    assert trace_of(second) != trace_of(added)
    assert [link.context.span_id for link in second.links] == [added.get_span_context().span_id]  # type: ignore[union-attr]
    assert first.status.status_code is StatusCode.ERROR
    assert second.status.status_code is StatusCode.UNSET
    assert (first.attributes or {})["error.type"] == "ValueError"
    assert [event.name for event in first.events] == ["exception"]


@pytest.mark.parametrize(("parent", "same"), [("always", 2), ("never", 0)])
async def test_one_switch_says_which_attempts_continue_the_trace(
    recorder: Recorder, parent: str, same: int
) -> None:
    async with Toril(":memory:") as app:
        recorder.instrument(app, parent=parent)

        @app.task(attempts=2, backoff=0)
        async def flaky(job: Job) -> None:
            if job.attempt == 1:
                raise ValueError("first")

        await flaky.enqueue()
        await app.worker().run_until_idle()

    added = recorder.span("add default.flaky")
    processed = recorder.spans("process default")
    assert sum(trace_of(span) == trace_of(added) for span in processed) == same
    assert sum(len(span.links) for span in processed) == 2 - same


async def test_a_snooze_is_no_error(recorder: Recorder) -> None:
    async with Toril(":memory:") as app:
        recorder.instrument(app)

        @app.task
        async def patient(job: Job) -> None:
            if job.run == 1:
                raise Snooze(0)

        await patient.enqueue()
        await app.worker().run_until_idle()

    first, second = recorder.spans("process default")
    assert first.status.status_code is StatusCode.UNSET
    assert (first.attributes or {})["toril.job.signal"] == "Snooze"
    assert (second.attributes or {})["toril.job.run"] == 2


async def test_flows_and_bulk_adds_carry_the_trace(app: Toril, recorder: Recorder) -> None:
    recorder.instrument(app)
    with recorder.tracer.start_as_current_span("request"):
        many = await app.queue("bulk").add_many([("a", 1), ("b", 2)])
        tree = await app.flow("top", "root", children=[("low", "leaf", None)]).add()
    found = [*many, tree.job, tree.children[0].job]

    for job in found:
        span = recorder.span(f"add {job.queue}.{job.name}")
        assert job.headers["traceparent"].split("-")[1] == f"{trace_of(span):032x}"
        assert (span.attributes or {})["messaging.message.id"] == job.id


async def test_a_job_may_want_no_trace(app: Toril, recorder: Recorder) -> None:
    recorder.instrument(app)
    app.queue("quiet", omit_context=True)
    one = await app.queue("loud").add("x", headers={"tenant": "acme"}, omit_context=True)
    two = await app.queue("quiet").add("x")
    await app.worker("loud", _nothing).run_until_idle()

    assert (one.headers, two.headers) == ({"tenant": "acme"}, {})
    added, processed = recorder.span("add loud.x"), recorder.span("process loud")
    assert trace_of(added) != trace_of(processed)
    assert '"omc":true' in (await one.refresh()).record.opts


async def _nothing(_: Job[Any]) -> None:
    return None


async def test_an_add_that_fails_has_a_span_with_an_error(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(opentelemetry, "LOST_S", 0.0)
    async with Toril(":memory:") as app:
        recorder.instrument(app)
        app.queue("full", max_waiting=1)
        await app.queue("full").add("fits")
        with pytest.raises(Exception, match="full"):
            await app.queue("full").add("refused")
        await app.queue("other").add("x")

    refused = recorder.span("add full.refused")
    assert refused.status.status_code is StatusCode.ERROR
    assert recorder.span("add full.fits").status.status_code is StatusCode.UNSET


async def test_metrics_have_the_names_of_the_conventions_and_of_bullmq(
    app: Toril, recorder: Recorder
) -> None:
    recorder.instrument(app, queue_counts=True)

    @app.task(queue="q", attempts=2, backoff=0)
    async def flaky(job: Job) -> None:
        if job.attempt == 1:
            raise ValueError("first")

    @app.task(queue="q")
    async def bad() -> None:
        raise ValueError("always")

    await flaky.enqueue()
    await bad.enqueue()
    await app.worker().run_until_idle()
    points = await asyncio.to_thread(recorder.points, "bullmq.queue.jobs")
    assert {key: point.value for key, point in points.items() if point.value} == {
        "completed|q": 1,
        "failed|q": 1,
    }

    def values(name: str) -> dict[str, Any]:
        return {key: point.value for key, point in recorder.points(name).items()}

    def counts(name: str) -> dict[str, int]:
        return {key: point.count for key, point in recorder.points(name).items()}

    def read() -> None:
        assert values("messaging.client.sent.messages") == {"q|add|toril": 2}
        assert values("messaging.client.consumed.messages") == {"q|process|toril": 3}
        assert counts("messaging.client.operation.duration") == {"q|add|toril": 2}
        assert counts("messaging.process.duration") == {
            "raised|q|process|toril": 2,
            "q|process|toril": 1,
        }
        assert values("bullmq.jobs.completed") == {"flaky|completed|q": 1}
        assert values("bullmq.jobs.failed") == {"bad|failed|q": 1}
        assert values("bullmq.jobs.retried") == {"flaky|retried|q": 1}
        assert sum(counts("bullmq.job.duration").values()) == 3

    await asyncio.to_thread(read)


async def test_the_span_of_an_isolated_handler_is_in_its_process(
    recorder: Recorder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "spans"
    monkeypatch.setenv("TRACING_TEST_FILE", str(file))
    monkeypatch.setenv("TRACING_TEST_PARENT", str(os.getpid()))
    async with Toril(":memory:") as app:
        recorder.instrument(app)
        compute = app.task(isolation="process")(tracing.compute)
        job = await compute.enqueue()
        async with app.worker():
            pid = await job.result(timeout=15)

    of = f"{trace_of(recorder.span('add default.compute')):032x}"
    assert file.read_text("utf-8").split() == [
        f"inner|{of}|{pid}",
        "process",
        f"default|{of}|{pid}",
    ]
    assert pid != os.getpid()


async def test_an_app_is_instrumented_once_and_needs_no_sdk(recorder: Recorder) -> None:
    async with Toril(":memory:") as app:
        instrument(app)
        recorder.instrument(app)
        await app.queue("q").add("x")
        assert len(recorder.spans("add q.x")) == 1
        with pytest.raises(ConfigError, match="parent"):
            instrument(app, parent="last")  # type: ignore[arg-type]
    async with Toril(":memory:") as app:
        instrument(app)
        assert (await app.queue("q").add("x")).headers == {}
    assert not isinstance(trace.get_tracer_provider(), TracerProvider)


async def test_what_is_left_is_exported_when_a_worker_stops() -> None:
    """The process of a worker ends without `atexit`, on which processors of spans rely."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=60_000))
    async with Toril(":memory:") as app:
        instrument(app, tracer_provider=provider)
        await app.queue("q").add("x")
        await app.worker("q", _nothing).run_until_idle()
        names = [span.name for span in exporter.get_finished_spans()]
    provider.shutdown()
    assert names == ["add q.x", "process q"]
