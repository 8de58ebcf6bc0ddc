"""Sentry, with a transport that keeps what would be sent."""

import asyncio
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.envelope import Envelope
from sentry_sdk.transport import Transport

from tests.integrations import failing_child
from toril import Fail, Job, Snooze, Toril
from toril.integrations.sentry import TorilIntegration, _monitor, _slug
from toril.testing import Harness
from toril.types import Rule


class Kept(Transport):
    """A transport that sends nothing."""

    def __init__(self, options: Any = None) -> None:
        super().__init__(options)
        self.envelopes: list[Envelope] = []
        self.flushed = 0

    def capture_envelope(self, envelope: Envelope) -> None:
        self.envelopes.append(envelope)

    def flush(self, timeout: float, callback: Any = None) -> None:
        self.flushed += 1

    def items(self, kind: str) -> list[dict[str, Any]]:
        """Return what would be sent of one kind: event, transaction or check_in."""
        sentry_sdk.flush()
        return [
            json.loads(item.get_bytes())
            for envelope in self.envelopes
            for item in envelope.items
            if item.type == kind
        ]


@pytest.fixture
def app() -> Toril:
    return Toril(":memory:")


@pytest.fixture
def start(app: Toril) -> Iterator[Any]:
    before = sentry_sdk.get_global_scope().client

    def begin(options: Any = None, **ours: Any) -> Kept:
        kept = Kept()
        sentry_sdk.init(
            dsn="https://key@example.com/1",
            transport=kept,
            traces_sample_rate=1.0,
            default_integrations=False,
            integrations=[TorilIntegration(app, **ours)],
            **(options or {}),
        )
        return kept

    yield begin
    sentry_sdk.get_client().close()
    sentry_sdk.get_global_scope().set_client(before)


async def run_all(app: Toril) -> None:
    await app.worker().run_until_idle()


async def test_an_error_has_its_job(app: Toril, start: Any) -> None:
    kept = start()

    @app.task(queue="mail", attempts=2, backoff=0)
    async def send(to: str) -> None:
        sentry_sdk.set_tag("mine", "1")
        raise ValueError("no route")

    job = await send.enqueue("ada@example.com")
    await run_all(app)

    first, second = kept.items("event")
    assert first["exception"]["values"][-1]["type"] == "ValueError"
    assert first["exception"]["values"][-1]["stacktrace"]["frames"][-1]["function"] == "send"
    context = {"id": job.id, "queue": "mail", "name": "send", "run": 1, "attempt": 1}
    assert first["contexts"]["job"].items() >= context.items()
    assert second["contexts"]["job"]["attempt"] == 2
    assert first["tags"] == {"job.queue": "mail", "job.name": "send", "mine": "1"}
    assert "ada@example.com" not in json.dumps(first["contexts"])
    sentry_sdk.capture_message("outside")
    assert "mine" not in kept.items("event")[-1].get("tags", {})


@pytest.mark.filterwarnings("ignore:The send_default_pii option is deprecated")
@pytest.mark.parametrize(
    "given", [{"options": {"send_default_pii": True}}, {"send_data": True}], ids=str
)
async def test_data_is_sent_only_if_it_may_be(
    app: Toril, start: Any, given: dict[str, Any]
) -> None:
    kept = start(**given)
    app.queue("q").handler("x")(_fail)
    await app.queue("q").add("x", {"to": "ada"})
    await run_all(app)
    assert kept.items("event")[0]["contexts"]["job"]["data"] == {"to": "ada"}


async def _fail(_: Job[Any]) -> None:
    raise ValueError("on purpose")


async def test_only_the_last_attempt_may_be_reported(app: Toril, start: Any) -> None:
    kept = start(only_last=True)
    app.queue("q").handler("x")(_fail)
    await app.queue("q").add("x", attempts=3, backoff=0)
    await run_all(app)
    (one,) = kept.items("event")
    assert one["contexts"]["job"]["attempt"] == 3


async def test_signals_are_no_errors_but_fail_is_one(app: Toril, start: Any) -> None:
    kept = start()

    @app.task
    async def patient(job: Job) -> None:
        if job.run == 1:
            raise Snooze(0)
        raise Fail("never")

    await patient.enqueue()
    await run_all(app)
    (one,) = kept.items("event")
    assert one["exception"]["values"][-1]["type"] == "Fail"
    assert [each["contexts"]["trace"]["status"] for each in kept.items("transaction")] == [
        "ok", "internal_error",
    ]  # fmt: skip


async def test_a_time_limit_and_a_child_process_are_reported(app: Toril, start: Any) -> None:
    kept = start()

    @app.task(timeout="10ms")
    async def slow() -> None:
        await _forever()

    await slow.enqueue()
    await app.task(isolation="process")(failing_child.fail).enqueue()
    await run_all(app)
    events = {each["contexts"]["job"]["name"]: each for each in kept.items("event")}
    assert set(events) == {"slow", "fail"}
    assert "in a child" in events["fail"]["exception"]["values"][-1]["value"]
    assert events["fail"]["contexts"]["job"]["queue"] == "default"


async def _forever() -> None:
    await asyncio.Event().wait()


async def test_one_trace_goes_from_the_request_to_the_handler(app: Toril, start: Any) -> None:
    kept = start()

    @app.task(queue="mail")
    def send(to: str) -> None:
        with sentry_sdk.start_span(op="smtp", name="smtp"):
            return

    with sentry_sdk.start_transaction(op="http.server", name="POST /sign-up"):
        job = await send.enqueue("ada")
    await run_all(app)

    request, task = kept.items("transaction")
    (publish,) = request["spans"]
    trace = task["contexts"]["trace"]
    assert request["contexts"]["trace"]["trace_id"] == trace["trace_id"]
    assert trace["parent_span_id"] == publish["span_id"]
    assert (trace["op"], trace["origin"], task["transaction"]) == (
        "queue.task.toril", "auto.queue.toril", "send",
    )  # fmt: skip
    assert task["transaction_info"]["source"] == "task"
    assert (publish["op"], publish["data"]["messaging.message.id"]) == ("queue.publish", job.id)
    process, smtp = task["spans"]
    assert smtp["parent_span_id"] == process["span_id"]
    assert process["op"] == "queue.process"
    assert process["data"].items() >= {
        "messaging.system": "toril", "messaging.destination.name": "mail",
        "messaging.message.id": job.id, "messaging.message.retry.count": 0,
        "messaging.message.body.size": len(job.record.data),
    }.items()  # fmt: skip
    assert process["data"]["messaging.message.receive.latency"] >= 0


async def test_a_job_may_want_no_trace(app: Toril, start: Any) -> None:
    start()
    with sentry_sdk.start_transaction(name="request"):
        job = await app.queue("q").add("x", omit_context=True)
        other = await app.queue("q").add("x")
    assert job.headers == {}
    assert "sentry-trace" in other.headers


async def test_runs_of_schedules_check_in(app: Toril, start: Any) -> None:
    kept = start()

    @app.queue("reports").handler("daily")
    async def daily(job: Job[Any]) -> None:
        if job.data:
            raise ValueError("no data")

    async with Harness(app, now=datetime(2026, 3, 1, 5, 59, tzinfo=UTC)) as jobs:
        for id, more in {
            "Morning: report": {"cron": "0 6 * * *", "tz": "UTC"},
            "bad": {"every": "2h", "data": 1},
            "quick": {"every": "5s"},
        }.items():
            await app.schedules.put(id, queue="reports", name="daily", **more)  # type: ignore[arg-type]
        await jobs.drain()
        jobs.clock.move(jobs.clock.now_ms() + 60_000)
        await jobs.drain()
    checks = kept.items("check_in")

    by_slug = {
        slug: [each for each in checks if each["monitor_slug"] == slug]
        for slug in {each["monitor_slug"] for each in checks}
    }
    assert set(by_slug) == {"reports-morning-report", "reports-bad"}
    began, ended = by_slug["reports-morning-report"]
    assert (began["status"], ended["status"]) == ("in_progress", "ok")
    assert began["check_in_id"] == ended["check_in_id"]
    assert ended["duration"] >= 0
    assert began["monitor_config"] == {
        "schedule": {"type": "crontab", "value": "0 6 * * *"}, "timezone": "UTC",
    }  # fmt: skip
    began, ended = by_slug["reports-bad"]
    assert ended["status"] == "error"
    assert began["monitor_config"]["schedule"] == {"type": "interval", "value": 2, "unit": "hour"}


@pytest.mark.parametrize(
    ("rule", "schedule"),
    [
        (Rule(every_ms=90 * 60_000), {"type": "interval", "value": 90, "unit": "minute"}),
        (Rule(every_ms=86_400_000), {"type": "interval", "value": 1, "unit": "day"}),
        (Rule(every_ms=90_000), None),
        (Rule(cron="0 0 6 * * *"), None),
    ],
)
def test_what_sentry_has_no_words_for_is_not_sent(rule: Rule, schedule: Any) -> None:
    made = _monitor(rule)
    assert (made and made["schedule"]) == schedule


def test_a_slug_is_short() -> None:
    assert _slug("Mail:Out", "Täglich 6 Uhr " * 9)[:18] == "mail-out-t-glich-6"
    assert len(_slug("q", "x" * 99)) == 50


async def test_an_app_works_without_sentry(app: Toril) -> None:
    TorilIntegration(app)
    app.queue("q").handler("x")(_fail)
    job = await app.queue("q").add("x")
    await run_all(app)
    assert (await job.refresh()).error == "on purpose"
    assert job.headers == {}


async def test_what_is_left_is_sent_when_a_worker_stops(app: Toril, start: Any) -> None:
    kept = start()
    app.queue("q").handler("x")(_fail)
    await app.queue("q").add("x")
    await run_all(app)
    assert kept.flushed == 1
