"""OpenTelemetry: spans of adding and running jobs, and metrics, across toril and BullMQ.

The trace goes with the job in its headers, where BullMQ's telemetry keeps it, so one trace crosses
Python and Node both ways.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from typing import Any, Literal, get_args
from weakref import WeakKeyDictionary

from opentelemetry import context as contexts
from opentelemetry import metrics, propagate, trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, Span, SpanKind, StatusCode

from toril._app.app import Toril
from toril._jobs.background_loop import run
from toril._jobs.drafts import JobDraft
from toril._jobs.job import Job
from toril._worker.hooks import AttemptFailed, JobFailed, JobStarted, TryEnded
from toril.errors import ConfigError, Fail, Signal

__all__ = ["Parent", "instrument", "process_job"]

Parent = Literal["first", "always", "never"]
"""Whether the span of an attempt is a child of the span that added the job, or linked to it."""

SYSTEM = "toril"
FLUSH_MS = 3_000
"""How long exporting may take when a worker stops."""
LOST_S = 60.0
"""After this long an add that was not heard of again counts as failed."""


def instrument(
    app: Toril,
    *,
    parent: Parent = "first",
    tracer_provider: trace.TracerProvider | None = None,
    meter_provider: metrics.MeterProvider | None = None,
    queue_counts: bool = False,
) -> None:
    """Trace the jobs that an app adds and runs, and record metrics of them.

    Call it where the app is made, so that it holds for `toril worker` and for child processes. A
    process has one set of providers: those of the last call.

    Args:
        app: The app.
        parent: Which attempts continue the trace that added the job: the "first", "always" all, or
            "never" any. The others begin a trace with a link to it.
        tracer_provider: Makes the spans. None: the global provider.
        meter_provider: Makes the instruments. None: the global provider.
        queue_counts: Report how many jobs each queue has, too; in one process of the fleet.

    Raises:
        ConfigError: A value of `parent` that is not known.

    Example:
        ```python
        app = Toril("redis://localhost")
        instrument(app)
        ```
    """
    if parent not in get_args(Parent):
        raise ConfigError(
            f"parent={parent!r} is unknown",
            field="parent",
            value=parent,
            hint='"first", "always" or "never"',
        )
    _used.parent = parent
    _used.tracer = trace.get_tracer("toril", tracer_provider=tracer_provider)
    _used.providers = (tracer_provider, meter_provider)
    known = app in _instrumented
    producer = _instrumented.setdefault(app, _Producer())
    instruments = _Instruments(metrics.get_meter("toril", meter_provider=meter_provider))
    producer.instruments = instruments
    if queue_counts:
        instruments.report_counts(app)
    if known:
        return
    app.before_enqueue(producer.begin)
    app.on("added")(producer.end)
    app.on(JobStarted)(lambda record: producer.instruments.started(record))
    app.on(TryEnded)(lambda record: producer.instruments.ended(record))
    app.middleware(process_job)
    app.lifespan(_flush_at_the_end)


@dataclass(slots=True)
class _Used:
    """What spans of this process are made with."""

    parent: Parent = "first"
    tracer: trace.Tracer | None = None
    providers: tuple[object, object] = (None, None)


_used = _Used()
_instrumented: "WeakKeyDictionary[Toril, _Producer]" = WeakKeyDictionary()


def process_job(job: Job[Any]) -> Iterator[None]:
    """Run a span around an attempt: middleware, attached by `instrument`.

    In a child process it uses the providers that the handler's module sets.
    """
    tracer = _used.tracer or trace.get_tracer("toril")
    carrier = propagate.extract(job.headers)
    remote = trace.get_current_span(carrier).get_span_context()
    follows = _used.parent == "always" or (_used.parent == "first" and job.run <= 1)
    around = carrier if follows else Context()
    span = tracer.start_span(
        f"process {job.queue}",
        context=around,
        kind=SpanKind.CONSUMER,
        links=[Link(remote)] if remote.is_valid and not follows else [],
        attributes={
            **_about(job.queue, job.name, "process"),
            "messaging.message.id": job.id,
            "bullmq.job.id": job.id,
            "bullmq.job.attempts.made": job.attempts_made,
            "toril.job.attempt": job.attempt,
            "toril.job.run": job.run,
        },
    )
    token = contexts.attach(trace.set_span_in_context(span, around))
    try:
        yield
    except BaseException as error:
        if isinstance(error, Signal) and not isinstance(error, Fail):
            span.set_attribute("toril.job.signal", type(error).__name__)
        else:
            _fail(span, error)
        raise
    finally:
        contexts.detach(token)
        span.end()


async def _flush_at_the_end() -> AsyncIterator[None]:
    """Export what is left when a worker stops: its process ends without the hooks of `atexit`."""
    yield
    traces, measures = _used.providers
    for provider in (
        traces or trace.get_tracer_provider(),
        measures or metrics.get_meter_provider(),
    ):
        flush = getattr(provider, "force_flush", None)
        if flush is not None:
            await asyncio.to_thread(flush, FLUSH_MS)


def _fail(span: Span, error: BaseException) -> None:
    span.record_exception(error)
    span.set_attribute("error.type", type(error).__qualname__)
    span.set_status(StatusCode.ERROR, f"{type(error).__name__}: {error}")


def _about(queue: str, name: str, operation: Literal["add", "process"]) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.operation.type": "send" if operation == "add" else "process",
        "messaging.destination.name": queue,
        "bullmq.queue.name": queue,
        "bullmq.queue.operation": operation,
        "bullmq.job.name": name,
    }


class _Instruments:
    """The instruments of one meter, and what is recorded with them."""

    def __init__(self, meter: metrics.Meter) -> None:
        self._meter = meter
        self._sent = meter.create_counter(
            "messaging.client.sent.messages", "{message}", "Jobs that were added."
        )
        self._consumed = meter.create_counter(
            "messaging.client.consumed.messages", "{message}", "Attempts that began."
        )
        self._operation = meter.create_histogram(
            "messaging.client.operation.duration", "s", "How long it took to add a job."
        )
        self._process = meter.create_histogram(
            "messaging.process.duration", "s", "How long an attempt took."
        )
        self._duration = meter.create_histogram(
            "bullmq.job.duration", "ms", "Job processing duration"
        )
        self._ends = {
            word: meter.create_counter(f"bullmq.jobs.{name}", "1", f"Number of jobs {word}")
            for word, name in _ENDS.items()
        }

    def sent(self, job: Job[Any], began: float) -> None:
        """Count a job that was added."""
        labels = _labels(job.queue, "add")
        self._sent.add(1, labels)
        self._operation.record(time.perf_counter() - began, labels)

    def started(self, record: JobStarted) -> None:
        """Count an attempt that began."""
        self._consumed.add(1, _labels(record.queue, "process"))

    def ended(self, record: TryEnded) -> None:
        """Count an attempt that ended, and how long it took."""
        failed = {"error.type": record.end} if isinstance(record, _FAILURES) else {}
        self._process.record(record.seconds, _labels(record.queue, "process") | failed)
        state = _state_after(record)
        if state in self._ends:
            labels = {
                "bullmq.queue.name": record.queue,
                "bullmq.job.name": record.job_name,
                "bullmq.job.state": state,
            }
            self._ends[state].add(1, labels)
            self._duration.record(record.seconds * 1000, labels)

    def report_counts(self, app: Toril) -> None:
        """Report the number of jobs in each state whenever the metrics are collected."""

        def observe(_: metrics.CallbackOptions) -> Iterator[metrics.Observation]:
            for view in run(app.overview()):
                for state in _STATES:
                    labels = {"bullmq.queue.name": view.name, "bullmq.queue.jobs.state": state}
                    count = getattr(view.counts, state.replace("-", "_"))
                    yield metrics.Observation(count, labels)

        self._meter.create_observable_gauge(
            "bullmq.queue.jobs", [lambda options: list(observe(options))], "{job}", "Jobs by state."
        )


_STATES = (
    "waiting", "prioritized", "delayed", "active", "waiting-children", "completed", "failed",
)  # fmt: skip
_ENDS = {
    "completed": "completed",
    "failed": "failed",
    "delayed": "delayed",
    "retried": "retried",
    "waiting": "waiting",
    "waiting-children": "waiting_children",
}


_FAILURES = (JobFailed, AttemptFailed)


def _state_after(record: TryEnded) -> str:
    """Return what became of a job, in BullMQ's words: a retry without a delay is "retried"."""
    retried = isinstance(record, AttemptFailed) and record.word != "delayed"
    return "retried" if retried else record.word


def _labels(queue: str, operation: Literal["add", "process"]) -> dict[str, str]:
    return {
        "messaging.system": SYSTEM,
        "messaging.operation.name": operation,
        "messaging.destination.name": queue,
    }


@dataclass(slots=True)
class _Open:
    """The span of an add that has not been confirmed."""

    span: Span
    began: float


@dataclass(slots=True, eq=False)
class _Producer:
    """The spans of the adds of one app, from before a job is stored until it is."""

    open: dict[int, _Open] = field(default_factory=dict[int, _Open])
    instruments: _Instruments = field(
        default_factory=lambda: _Instruments(metrics.NoOpMeter("toril"))
    )

    def begin(self, draft: JobDraft) -> None:
        """Begin a span, and put its context into the headers of the job."""
        tracer = _used.tracer or trace.get_tracer("toril")
        now = time.perf_counter()
        self._give_up(now)
        # Headers that bring a trace along, such as those of a replayed job, go before none.
        context = contexts.get_current()
        if not trace.get_current_span(context).get_span_context().is_valid:
            context = propagate.extract(draft.headers, context)
        span = tracer.start_span(
            f"add {draft.queue}.{draft.name}",
            context=context,
            kind=SpanKind.PRODUCER,
            attributes=_about(draft.queue, draft.name, "add"),
        )
        if not draft.omit_context:
            propagate.inject(draft.headers, trace.set_span_in_context(span, context))
        known = _span_id(draft.headers) == span.get_span_context().span_id
        if known and span.is_recording():
            self.open[span.get_span_context().span_id] = _Open(span, now)
        else:
            span.end()

    def end(self, job: Job[Any]) -> None:
        """End the span of a job that was stored."""
        found = self.open.pop(_span_id(job.headers), None)
        if found is None:
            self.instruments.sent(job, time.perf_counter())
            return
        self.instruments.sent(job, found.began)
        found.span.set_attributes({"messaging.message.id": job.id, "bullmq.job.id": job.id})
        if not job.created:
            found.span.set_attribute("toril.job.created", False)
        found.span.end()

    def _give_up(self, now: float) -> None:
        """End the spans of adds that failed: the hook of adds hears only of those that did not."""
        while self.open:
            key, oldest = next(iter(self.open.items()))
            if now - oldest.began < LOST_S:
                return
            del self.open[key]
            oldest.span.set_status(StatusCode.ERROR, "it was not confirmed that the job is stored")
            oldest.span.end()


def _span_id(headers: dict[str, str]) -> int:
    return trace.get_current_span(propagate.extract(headers, Context())).get_span_context().span_id
