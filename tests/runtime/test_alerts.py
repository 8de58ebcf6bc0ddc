"""Alerts: each incident is told once, and once when it is over, however many processes watch."""

import asyncio
import json
import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from toril import ConfigError, Dedup, Job, Toril
from toril._app import alerts
from toril.errors import StoreUnavailable
from toril.testing import Harness
from toril.types import Alert

STORES = ("memory", "redis")


class Told:
    """Whoever is told: what, and when somebody was."""

    def __init__(self) -> None:
        self.alerts: list[Alert] = []
        self.more = asyncio.Event()

    def __call__(self, alert: Alert) -> None:
        self.alerts.append(alert)
        self.more.set()

    @property
    def seen(self) -> list[tuple[str, str, str]]:
        return [(each.kind, each.state, each.subject) for each in self.alerts]


async def fail(_: Job[Any]) -> None:
    raise ValueError("on purpose")


async def work(_: Job[Any]) -> None:
    return None


async def failed_jobs(app: Toril, queue: str, count: int, handler: Any = fail) -> None:
    await app.queue(queue).add_many([("x", n) for n in range(count)])
    await app.worker(queue, handler).run_until_idle()


# What is watched, on both stores.


async def test_too_many_failures_are_told_once_and_their_end_once(app: Toril) -> None:
    told = Told()
    app.alert(told, failure_rate=0.5)
    await failed_jobs(app, "good", 6, work)
    await failed_jobs(app, "bad", 4)
    assert await app.check_alerts() == []
    await failed_jobs(app, "bad", 2)

    for _ in range(3):
        (wrong,) = await app.check_alerts()
        assert (wrong.kind, wrong.subject, wrong.value, wrong.limit) == (
            "failure_rate", "bad", 1.0, 0.5,
        )  # fmt: skip
    assert wrong.message == (
        "100% of the jobs of queue 'bad' that ended in the last 10 min failed (6)"
    )
    await failed_jobs(app, "bad", 7, work)
    for _ in range(2):
        assert await app.check_alerts() == []
    assert told.seen == [("failure_rate", "firing", "bad"), ("failure_rate", "resolved", "bad")]

    await failed_jobs(app, "bad", 6)
    await app.check_alerts()
    assert told.seen[2:] == [("failure_rate", "firing", "bad")]


async def test_dead_letters_are_counted_in_their_own_queue(app: Toril) -> None:
    told = Told()
    app.alert(told, dead_letters=2)
    app.queue("mail", dead_letter="letters")
    await failed_jobs(app, "mail", 1)
    await app.check_alerts()
    assert told.seen == []

    await failed_jobs(app, "mail", 1)
    await app.check_alerts()
    await app.queue("letters").drain()
    await app.check_alerts()

    assert told.seen == [
        ("dead_letters", "firing", "letters"), ("dead_letters", "resolved", "letters"),
    ]  # fmt: skip
    assert told.alerts[0].message == "queue 'letters' has 2 dead letters"


async def test_a_queue_without_workers_and_its_oldest_job(app: Toril) -> None:
    told = Told()
    app.alert(told, workers_gone=0, oldest_waiting=0)
    await app.queue("q").add("x")
    await app.queue("q").pause()
    wrong = {each.kind: each for each in await app.check_alerts()}

    assert wrong["workers_gone"].message == "queue 'q' has no live worker, and 1 job waits"
    assert wrong["oldest_waiting"].message.endswith("; the queue is paused")
    await app.queue("q").resume()
    async with app.worker("q", work) as worker:
        await worker.drained()
        assert await app.check_alerts() == []
    assert sorted(told.seen) == [
        (kind, state, "q")
        for kind in ("oldest_waiting", "workers_gone")
        for state in ("firing", "resolved")
    ]


async def test_queues_that_are_not_named_are_not_watched(app: Toril) -> None:
    app.alert("log", workers_gone=0, queues=["a"])
    for name in "ab":
        await app.queue(name).add("x")
    assert [each.subject for each in await app.check_alerts()] == ["a"]


async def test_many_processes_tell_once(app: Toril) -> None:
    """Apps stand for processes: what they share is the store."""
    others = [Toril(app.url, prefix=app.prefix) for _ in range(2)]
    told = Told()
    if app.url == ":memory:":
        for other in others:
            other.context.use(app.context.store, opened=True)
    for each in (app, *others):
        each.alert(told, workers_gone=0, every="20ms")
    await app.queue("q").add("x")
    async with app.watch_alerts(), others[0].watch_alerts(), others[1].watch_alerts():
        await asyncio.wait_for(told.more.wait(), 5)
        for each in others:
            assert [found.subject for found in await each.check_alerts()] == ["q"]
        told.more.clear()
        await app.queue("q").drain()
        await asyncio.wait_for(told.more.wait(), 5)
    assert told.seen == [("workers_gone", "firing", "q"), ("workers_gone", "resolved", "q")]
    assert len(await app.context.store.notes("alerts")) == 2
    for other in others:
        if app.url != ":memory:":
            await other.close()


async def test_workers_watch_and_the_next_one_goes_on_when_one_stops(app: Toril) -> None:
    told = Told()
    app.alert(told, dead_letters=1, every="20ms")
    app.queue("q", dead_letter="dead")
    async with app.worker("other", work):
        await failed_jobs(app, "q", 1)
        await asyncio.wait_for(told.more.wait(), 5)
    told.more.clear()
    await app.queue("dead").drain()
    async with app.worker("other", work):
        await asyncio.wait_for(told.more.wait(), 5)
    assert [state for _, state, _ in told.seen] == ["firing", "resolved"]


async def test_whoever_cannot_be_told_is_told_later(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    told = Told()
    away = [True]

    async def tell(alert: Alert) -> None:
        if away[0]:
            raise ConnectionError("away")
        told(alert)

    app.alert(tell, workers_gone=0)
    await app.queue("q").add("x")
    await app.check_alerts()
    assert [each.getMessage().split()[0] for each in caplog.records if "alert" in each.name] == [
        "alert.undelivered"
    ]
    away[0] = False
    await app.check_alerts()
    await app.check_alerts()
    assert told.seen == [("workers_gone", "firing", "q")]


# In memory, where the clock can be moved.


async def test_a_short_absence_of_workers_is_no_incident(memory: Toril) -> None:
    told = Told()
    memory.alert(told, workers_gone="1m")
    async with Harness(memory) as jobs:
        await memory.queue("q").add("x")
        assert await memory.check_alerts() == []
        jobs.clock.move(jobs.clock.now_ms() + 59_000)
        assert await memory.check_alerts() == []
        await memory.queue("q").drain()
        await memory.check_alerts()
        await memory.queue("q").add("x")
        assert await memory.check_alerts() == []
        jobs.clock.move(jobs.clock.now_ms() + 60_000)
        (wrong,) = await memory.check_alerts()
        assert wrong.at_ms - wrong.since_ms == 60_000
    assert told.seen == [("workers_gone", "firing", "q")]


async def test_the_oldest_job_and_a_missed_schedule(memory: Toril) -> None:
    told = Told()
    memory.alert(told, oldest_waiting="5m", missed_schedules="2m")
    memory.queue("q").handler("report")(work)
    async with Harness(memory, now=datetime(2026, 3, 1, 12, 30, tzinfo=UTC)) as jobs:
        await memory.schedules.put("nightly", queue="q", name="report", every="1h")
        await jobs.drain()
        await memory.queue("r").add("x")
        jobs.clock.move(jobs.clock.now_ms() + 299_000)
        assert await memory.check_alerts() == []
        jobs.clock.move(jobs.clock.now_ms() + 1_000)
        (wrong,) = await memory.check_alerts()
        assert wrong.message == "the next job of queue 'r' has been waiting for 5 min"
        jobs.clock.move(jobs.clock.now_ms() + 3_600_000)
        late = {each.kind: each for each in await memory.check_alerts()}["missed_schedules"]
        assert late.subject == "q:nightly"
        assert late.message.startswith("schedule 'nightly' of queue 'q' is ")
        await jobs.drain()
        await memory.check_alerts()
    assert ("missed_schedules", "resolved", "q:nightly") in told.seen


async def test_the_log_has_an_alert_and_its_end(
    memory: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "toril.alerts")
    memory.alert("log", workers_gone=0)
    await memory.queue("q").add("x")
    await memory.check_alerts()
    await memory.queue("q").drain()
    await memory.check_alerts()
    lines = [each for each in caplog.records if each.name == "toril.alerts"]
    assert [each.getMessage() for each in lines] == [
        "alert.firing queue 'q' has no live worker, and 1 job waits",
        "alert.resolved over after 0 ms: queue 'q' has no live worker, and 1 job waits",
    ]
    assert (lines[0].levelname, lines[0].alert, lines[0].subject) == ("ERROR", "workers_gone", "q")  # type: ignore[attr-defined]


@contextmanager
def webhook(status: int = 200) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Serve a webhook, and keep what was posted."""
    posted: list[dict[str, Any]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            posted.append({"type": self.headers["Content-Type"], **json.loads(body)})
            self.send_response(status)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = HTTPServer(("127.0.0.1", 0), Answer)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/hook", posted
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def test_a_webhook_gets_text_and_facts(memory: Toril) -> None:
    with webhook() as (url, posted):
        memory.alert(url, workers_gone=0)
        await memory.queue("q").add("x")
        await memory.check_alerts()
        await memory.check_alerts()
    (one,) = posted
    assert one["type"] == "application/json"
    assert one["text"] == "[firing] queue 'q' has no live worker, and 1 job waits"
    assert one["alert"]["kind"] == "workers_gone"
    assert one["alert"]["value"] == 1


async def test_a_webhook_that_refuses_is_asked_again(
    memory: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    with webhook(500) as (url, posted):
        memory.alert(f"{url}?token=secret", workers_gone=0)
        await memory.queue("q").add("x")
        await memory.check_alerts()
        await memory.check_alerts()
    assert len(posted) == 2
    assert "secret" not in caplog.text


async def test_a_function_that_takes_too_long_is_left(
    memory: Toril, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(alerts, "TELL_S", 0.01)

    async def stuck(_: Alert) -> None:
        await asyncio.Event().wait()

    memory.alert(stuck, workers_gone=0)
    await memory.queue("q").add("x")
    assert len(await memory.check_alerts()) == 1


@pytest.mark.parametrize(
    ("to", "given"),
    [
        ("log", {}),
        ("ftp://x", {"dead_letters": 1}),
        ("https://", {"dead_letters": 1}),
        (None, {"dead_letters": 1}),
        (Dedup, {"dead_letters": 1}),
        ("log", {"failure_rate": 20}),
        ("log", {"failure_rate": True}),
        ("log", {"failure_rate": "0.2"}),
        ("log", {"dead_letters": 0}),
        ("log", {"oldest_waiting": "soon"}),
        ("log", {"dead_letters": 1, "every": 0}),
        ("log", {"dead_letters": 1, "queues": 5}),
        ("log", {"dead_letters": 1, "queues": ["wait"]}),
    ],
)
async def test_what_cannot_be_watched_is_refused(memory: Toril, to: Any, given: Any) -> None:
    with pytest.raises(ConfigError):
        memory.alert(to, **given)
    assert await memory.check_alerts() == []


async def test_a_store_that_cannot_be_asked_is_asked_again(
    memory: Toril, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    told, looks = Told(), [0]
    memory.alert(told, workers_gone=0, every="5ms")
    await memory.queue("q").add("x")
    real = alerts.find_alerts

    async def find(*given: Any) -> list[Alert]:
        looks[0] += 1
        if looks[0] < 3:
            raise StoreUnavailable("away") if looks[0] == 1 else RuntimeError("a mistake")
        return await real(*given)

    monkeypatch.setattr(alerts, "find_alerts", find)
    async with memory.watch_alerts():
        await asyncio.wait_for(told.more.wait(), 5)
    lines = [each for each in caplog.records if each.name == "toril.alerts"]
    assert [each.getMessage() for each in lines] == [
        "alert.unchecked reason='away': it is tried again",
        "alert.unchecked reason='a mistake': it is tried again",
    ]
    assert [bool(each.exc_info) for each in lines] == [False, True]


async def test_what_is_wrong_is_returned_as_it_is_now(memory: Toril) -> None:
    memory.alert("log", workers_gone=0)
    async with Harness(memory) as jobs:
        for count in (1, 2):
            await memory.queue("q").add("x")
            (wrong,) = await memory.check_alerts()
            assert wrong.value == count
            jobs.clock.move(jobs.clock.now_ms() + 1000)
    assert wrong.at_ms - wrong.since_ms == 1000
