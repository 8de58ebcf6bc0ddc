"""Sentry: errors of attempts with their job, spans from the add to the handler, and cron check-ins.

sentry_sdk.init(dsn="…", integrations=[TorilIntegration(app)])
"""

import asyncio
import time
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from re import sub
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import sentry_sdk
from sentry_sdk.crons import MonitorStatus, capture_checkin
from sentry_sdk.integrations import Integration
from sentry_sdk.scope import should_send_default_pii
from sentry_sdk.tracing import Span

from toril._app.app import Toril
from toril._jobs.drafts import JobDraft
from toril._jobs.job import Job
from toril._model.schedule import Rule
from toril.errors import Fail, Signal

__all__ = ["TorilIntegration"]

ORIGIN = "auto.queue.toril"
SYSTEM = "toril"
FLUSH_S = 3.0
"""How long sending may take when a worker stops."""
MOST_OPEN = 10_000
"""How many adds may be under way; the spans of more than these are not sent."""
LONGEST_SLUG = 50
_MARK = "_toril_reported"


class TorilIntegration(Integration):
    """Report to Sentry what happens to the jobs of an app.

    Make it where the app is made, so that it holds for `toril worker`, too.

    Args:
        app: The app.
        only_last: Report an error only if the job has no attempts left.
        check_ins: Send cron check-ins for the jobs of schedules.
        send_data: Send the data of jobs. None: only with Sentry's `send_default_pii`.

    Example:
        ```python
        app = Toril("redis://localhost")
        sentry_sdk.init(dsn=settings.sentry_dsn, integrations=[TorilIntegration(app)])
        ```
    """

    identifier = "toril"
    origin = ORIGIN

    def __init__(
        self,
        app: Toril,
        *,
        only_last: bool = False,
        check_ins: bool = True,
        send_data: bool | None = None,
    ) -> None:
        self.only_last = only_last
        self._send_data = send_data
        self._open: dict[str, Span] = {}

        def in_sentry(job: Job[Any]) -> Iterator[None]:
            yield from self._run(job)

        app.before_enqueue(self._publish)
        app.on("added")(self._published)
        app.middleware(children=False)(in_sentry)
        app.on("attempt_failed")(self._failed)
        app.lifespan(_flush_at_the_end)
        if check_ins:
            checks = _CheckIns(app)
            app.on("active")(checks.begin)
            app.on("completed")(checks.complete)
            app.on("failed")(checks.fail)

    @staticmethod
    def setup_once() -> None:
        """Do nothing: an integration belongs to an app, and is attached to it when it is made."""

    # Adding.

    def _publish(self, draft: JobDraft) -> None:
        if not _is_on():
            return
        span = sentry_sdk.start_span(op="queue.publish", name=draft.name, origin=ORIGIN)
        span.set_data("messaging.system", SYSTEM)
        span.set_data("messaging.destination.name", draft.queue)
        if draft.omit_context:
            span.finish()
            return
        # Without a transaction there is no span to send, but there is a trace.
        trace, baggage = sentry_sdk.get_traceparent(), sentry_sdk.get_baggage()
        if span.containing_transaction is not None:
            trace, sent = span.to_traceparent(), span.to_baggage()
            baggage = sent.serialize() if sent is not None else None
            if len(self._open) < MOST_OPEN:
                self._open[trace] = span
        if trace:
            draft.headers["sentry-trace"] = trace
        if baggage:
            draft.headers["baggage"] = baggage

    def _published(self, job: Job[Any]) -> None:
        span = self._open.pop(job.headers.get("sentry-trace", ""), None) if self._open else None
        if span is not None:
            span.set_data("messaging.message.id", job.id)
            span.set_data("messaging.message.body.size", len(job.record.data.encode()))
            span.finish()

    # Running.

    def _run(self, job: Job[Any]) -> Iterator[None]:
        if not _is_on():
            yield
            return
        signal: Signal | None = None
        with sentry_sdk.isolation_scope() as scope:
            self._describe(scope, job)
            transaction = sentry_sdk.continue_trace(
                job.headers, op="queue.task.toril", name=job.name, source="task", origin=ORIGIN
            )
            with (
                sentry_sdk.start_transaction(transaction) as outer,
                sentry_sdk.start_span(op="queue.process", name=job.name, origin=ORIGIN) as span,
            ):
                for key, value in _messaging(job).items():
                    span.set_data(key, value)
                try:
                    yield
                except Signal as raised:
                    if isinstance(raised, Fail):
                        self._capture(job, raised)
                        raise
                    signal = raised
                except Exception as error:
                    self._capture(job, error)
                    raise
                outer.set_status("ok")
        # A signal that passed through the spans would make errors of them.
        if signal is not None:
            raise signal

    def _failed(self, job: Job[Any], error: BaseException | None) -> None:
        """Report what the middleware has not seen: time limits, crashes, errors of children."""
        if error is None or getattr(error, _MARK, False) or not _is_on():
            return
        with sentry_sdk.isolation_scope() as scope:
            self._describe(scope, job)
            scope.generate_propagation_context(incoming_data=job.headers)
            self._capture(job, error)

    def _describe(self, scope: Any, job: Job[Any]) -> None:
        """Set which job the events of a scope are about; its data only if that may be sent."""
        facts: dict[str, Any] = {
            "id": job.id,
            "queue": job.queue,
            "name": job.name,
            "attempt": job.attempt,
            "run": job.run,
        }
        if self._send_data or (self._send_data is None and should_send_default_pii()):
            facts["data"] = job.data
        scope.clear_breadcrumbs()
        scope.set_context("job", facts)
        scope.set_tag("job.queue", job.queue)
        scope.set_tag("job.name", job.name)

    def _capture(self, job: Job[Any], error: BaseException) -> None:
        with suppress(AttributeError, TypeError):
            setattr(error, _MARK, True)
        if self.only_last and job.attempts_left and not isinstance(error, Fail):
            return
        sentry_sdk.capture_exception(error)


async def _flush_at_the_end() -> AsyncIterator[None]:
    """Send what is left when a worker stops: its process ends without the hooks of `atexit`."""
    yield
    await asyncio.to_thread(sentry_sdk.flush, FLUSH_S)


def _is_on() -> bool:
    return sentry_sdk.get_client().get_integration(TorilIntegration) is not None


def _messaging(job: Job[Any]) -> Mapping[str, Any]:
    record = job.record
    ready = record.created_ms + record.delay_ms
    waited = max((record.started_ms or ready) - ready, 0)
    return {
        "messaging.system": SYSTEM,
        "messaging.destination.name": job.queue,
        "messaging.message.id": job.id,
        "messaging.message.receive.latency": waited,
        "messaging.message.retry.count": job.attempts_made,
        "messaging.message.body.size": len(record.data.encode()),
    }


# Schedules.


@dataclass(slots=True)
class _CheckIn:
    """The check-in of a run: its id is the same in every process."""

    id: str
    slug: str
    began: float
    sent: asyncio.Event = field(default_factory=asyncio.Event)


class _CheckIns:
    """Tell Sentry of each run of a schedule when it begins and ends."""

    def __init__(self, app: Toril) -> None:
        self._app = app
        self._open: dict[tuple[str, str], _CheckIn] = {}

    async def begin(self, job: Job[Any]) -> None:
        """A run begins, perhaps again after an attempt that failed."""
        schedule = job.record.schedule
        key = (job.queue, job.id)
        if schedule is None or key in self._open or not _is_on():
            return
        id = uuid5(NAMESPACE_URL, f"toril:{job.queue}:{job.id}").hex
        check = _CheckIn(id, _slug(job.queue, schedule), time.perf_counter())
        self._open[key] = check
        config = None
        try:
            info = await self._app.schedules.get(job.queue, schedule)
            config = None if info is None else _monitor(info.rule)
            if config is None:
                del self._open[key]
                return
            capture_checkin(check.slug, check.id, MonitorStatus.IN_PROGRESS, None, config)
        finally:
            check.sent.set()

    async def complete(self, job: Job[Any], _: object) -> None:
        """A run completed."""
        await self._end(job, MonitorStatus.OK)

    async def fail(self, job: Job[Any], _: object) -> None:
        """A run failed permanently."""
        await self._end(job, MonitorStatus.ERROR)

    async def _end(self, job: Job[Any], status: str) -> None:
        check = self._open.get((job.queue, job.id))
        if check is None:
            return
        await check.sent.wait()
        if self._open.pop((job.queue, job.id), None) is not None:
            capture_checkin(check.slug, check.id, status, time.perf_counter() - check.began)


def _slug(queue: str, schedule: str) -> str:
    """Return the name of a monitor: small letters, digits and hyphens."""
    return sub(r"[^a-z0-9_-]+", "-", f"{queue}-{schedule}".lower()).strip("-")[:LONGEST_SLUG]


_UNITS = (("day", 86_400_000), ("hour", 3_600_000), ("minute", 60_000))


def _monitor(rule: Rule) -> Any:
    """Return how Sentry describes a schedule; None: it has no words for it."""
    if rule.cron is not None:
        if len(rule.cron.split()) != 5:
            return None
        return {"schedule": {"type": "crontab", "value": rule.cron}, "timezone": rule.tz}
    for unit, ms in _UNITS:
        if rule.every_ms and rule.every_ms % ms == 0:
            value = {"type": "interval", "value": rule.every_ms // ms, "unit": unit}
            return {"schedule": value}
    return None
