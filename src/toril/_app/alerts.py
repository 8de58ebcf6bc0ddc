"""Alerts: look regularly at what may go wrong, and tell somebody once, and once when it is over.

What is told is stored, and one process looks at a time: so each incident is told once, however many
processes watch. Never here: what counts as wrong (alert_checks).
"""

import asyncio
import hashlib
import logging
import os
import platform
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from importlib import import_module
from inspect import isawaitable
from typing import Any, TypedDict, cast
from urllib.parse import urlsplit
from uuid import uuid4

import msgspec

from toril._handlers.callables import title_of
from toril._jobs import guard
from toril._jobs.session import Session
from toril._model.alert import Alert, Incident, Lead, Watched, after
from toril._model.checks import check_share, check_whole
from toril._model.options import unknown_option
from toril._model.record import check_queue_name
from toril._model.stored import or_else, reader
from toril._model.times import Duration, Millis, describe, to_ms
from toril._store.protocol import Store
from toril._store.threads import in_thread
from toril._worker.options import queue_names
from toril.errors import ConfigError, TorilError

from .alert_checks import find_alerts

AlertTarget = str | Callable[[Alert], object]
"""Who is told: a URL, "log", or a function, sync or async."""

TELL_S = 10.0
"""How long telling may take."""
MOST = 1_000

log = logging.getLogger("toril.alerts")
_incident, _lead = reader(Incident), reader(Lead)


class AlertOptions(TypedDict, total=False):
    """What `app.alert` watches."""

    failure_rate: float
    """The share of jobs that failed, of those of a queue that ended in the last ten minutes, such as
    0.2; at least five failed."""
    oldest_waiting: Duration
    """How long the next job of a queue has been waiting."""
    dead_letters: int
    """How many dead letters a queue has."""
    workers_gone: Duration
    """For how long a queue with jobs has no live worker, or a worker that ended without notice was
    not seen."""
    missed_schedules: Duration
    """How late the run of a schedule is."""
    queues: Sequence[str]
    """Watch these queues only. Default: all of the store."""
    every: Duration
    """How often to look. Default: 30 seconds."""


def make_watcher(to: AlertTarget, options: AlertOptions) -> "Watcher":
    """Make the watcher that a user describes.

    Raises   ConfigError: nothing is watched, or a value cannot hold.
    """
    known = tuple(AlertOptions.__annotations__)
    for name in options:
        if name not in known:
            raise unknown_option(name, known, where="app.alert")
    given: dict[str, Any] = {**options}
    times: dict[str, Any] = {
        f"{name}_ms": to_ms(given[name], field=name)
        for name in ("oldest_waiting", "workers_gone", "missed_schedules")
        if name in given
    }
    watched = Watched(**times)
    if "failure_rate" in options:
        share = check_share(options["failure_rate"], "failure_rate")
        watched = replace(watched, failure_rate=share)
    if "dead_letters" in options:
        most = check_whole(options["dead_letters"], "dead_letters", 1)
        watched = replace(watched, dead_letters=most)
    every = check_whole(to_ms(options.get("every", "30s"), field="every"), "every", 1)
    names = tuple(
        check_queue_name(each, "queues") for each in queue_names(options.get("queues", ()))
    )
    if watched == Watched():
        raise ConfigError(
            "app.alert: nothing is watched", field="app", value=to, hint='give oldest_waiting="5m"'
        )
    return Watcher(to, replace(watched, queues=names), every)


class Watcher:
    """One `app.alert`: what it watches, and whom it tells."""

    def __init__(self, to: AlertTarget, watched: Watched, every_ms: Millis) -> None:
        self._tell = _telling(to)
        self._watched = watched
        self.every_ms = every_ms
        # Processes with the same code have the same.
        who = to if isinstance(to, str) else title_of(to)
        told = f"{who} {watched!r}".encode()
        self.id = hashlib.sha256(told).hexdigest()[:12]

    async def look(self, store: Store, me: str) -> list[Alert]:
        """Look once, tell what is new if no other process does, and return what is wrong."""
        now = store.clock.now_ms()
        notes = {note.id: note.body for note in await store.notes("alerts", limit=MOST)}
        leads = await self._lead(store, me, notes.get(self.id, ""), now)
        found = {
            f"{self.id}/{each.kind}/{each.subject}": each
            for each in await find_alerts(store, self._watched)
        }
        known = [id for id in notes if id.startswith(f"{self.id}/")]
        wrong: list[Alert] = []
        for id in dict.fromkeys([*known, *found]):
            body = notes.get(id, "")
            before = or_else(_incident, body, None) if body else None
            now_is = after(before, found.get(id), now)
            if now_is is None:
                continue
            if id in found and not now_is.is_pending(now):
                wrong.append(replace(found[id], since_ms=now_is.alert.since_ms, at_ms=now))
            if leads:
                await self._settle(store, id, body, before, now_is)
        return wrong

    async def _lead(self, store: Store, me: str, body: str, now: Millis) -> bool:
        """Return whether this process is the one that tells; try to become it."""
        held = or_else(_lead, body, None) if body else None
        if held is not None and held.by != me and held.until_ms > now:
            return False
        mine = _text(Lead(by=me, until_ms=now + 3 * self.every_ms))
        return bool(await store.note("alerts", mine, id=self.id, instead_of=body))

    async def _settle(
        self, store: Store, id: str, body: str, before: Incident | None, now_is: Incident
    ) -> None:
        text = body if now_is == before else _text(now_is)
        if text != body and not await store.note("alerts", text, id=id, instead_of=body):
            return
        if now_is.told or now_is.is_pending(store.clock.now_ms()):
            return
        if await self._told(now_is.alert):
            told = _text(Incident(now_is.alert, told=True))
            await store.note("alerts", told, id=id, instead_of=text)

    async def _told(self, alert: Alert) -> bool:
        try:
            await asyncio.wait_for(self._tell(alert), TELL_S)
        except BaseException as error:
            if isinstance(error, asyncio.CancelledError) and guard.is_cancelled():
                raise
            guard.let_signals_pass(error)
            facts = {"alert": alert.kind, "subject": alert.subject}
            text = "alert.undelivered alert=%r subject=%r: it is tried again"
            guard.write_log(log, logging.ERROR, text, *facts.values(), extra=facts, exc_info=error)
            return False
        return True

    async def leave(self, store: Store, me: str) -> None:
        """Let another process tell from now on."""
        for note in await store.notes("alerts", limit=MOST):
            held = or_else(_lead, note.body, None) if note.id == self.id else None
            if held is not None and held.by == me:
                gone = _text(Lead(by=me, until_ms=0))
                await store.note("alerts", gone, id=self.id, instead_of=note.body)


class Alerts:
    """The alerts of one app."""

    def __init__(self, context: Session) -> None:
        self._context = context
        self._watchers: dict[str, Watcher] = {}
        self._watching = 0
        self._name = uuid4().hex[:12]

    def add(self, watcher: Watcher) -> bool:
        """Add alerts, and return whether they are the first ones."""
        first = not self._watchers
        self._watchers[watcher.id] = watcher
        return first

    @property
    def _me(self) -> str:
        return f"{platform.node()}:{os.getpid()}:{self._name}"

    async def look(self) -> list[Alert]:
        """Look once, and return what is wrong."""
        store = await self._context.ready()
        found: list[Alert] = []
        for watcher in self._watchers.values():
            found += await watcher.look(store, self._me)
            if not self._watching:
                await watcher.leave(store, self._me)
        return found

    @asynccontextmanager
    async def watching(self) -> AsyncGenerator[None]:
        """Look regularly, for as long as this is entered."""
        self._watching += 1
        tasks: list[asyncio.Task[None]] = []
        if self._watching == 1:
            tasks = [asyncio.create_task(self._watch(each)) for each in self._watchers.values()]
        try:
            yield
        finally:
            self._watching -= 1
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks)
                await self._leave()

    async def _watch(self, watcher: Watcher) -> None:
        while True:
            await asyncio.sleep(watcher.every_ms / 1000)
            try:
                await watcher.look(await self._context.ready(), self._me)
            except Exception as error:
                trace = None if isinstance(error, TorilError) else error
                text = "alert.unchecked reason=%r: it is tried again"
                guard.write_log(
                    log, logging.WARNING, text, guard.text_of(error), extra={}, exc_info=trace
                )

    async def _leave(self) -> None:
        with suppress(TorilError):
            for watcher in self._watchers.values():
                await watcher.leave(await self._context.ready(), self._me)


def _text(value: object) -> str:
    return msgspec.json.encode(value).decode()


# Telling.


def _telling(to: object) -> Callable[[Alert], Awaitable[None]]:
    if to == "log":
        return _write
    if isinstance(to, str) and to.startswith(("http://", "https://")) and urlsplit(to).hostname:
        return lambda alert: in_thread(lambda: _post(to, alert))
    if callable(to) and not isinstance(to, type):
        return lambda alert: _call(cast("Callable[[Alert], object]", to), alert)
    raise ConfigError(
        "app.alert: `to` is nobody to tell",
        field="to",
        value=to,
        hint='an "https://…" URL, "log", or a function that takes the alert',
    )


async def _call(function: Callable[[Alert], object], alert: Alert) -> None:
    answer: Any = function(alert)
    if isawaitable(answer):
        await answer


async def _write(alert: Alert) -> None:
    firing = alert.state == "firing"
    facts = {"alert": alert.kind, "subject": alert.subject, "value": alert.value}
    text = "alert.firing %s" if firing else "alert.resolved %s"
    level = logging.ERROR if firing else logging.INFO
    guard.write_log(log, level, text, message_of(alert), extra=facts)


def message_of(alert: Alert) -> str:
    """Return an alert as one line."""
    if alert.state == "firing":
        return alert.message
    lasted = max(alert.at_ms - alert.since_ms, 0) // 1000 * 1000
    return f"over after {describe(lasted)}: {alert.message}"


def _post(url: str, alert: Alert) -> None:
    """Post an alert as JSON; chat systems show its `text`."""
    text = f"[{alert.state}] {message_of(alert)}"
    # Only here: it takes 8 ms to import, and most apps post nothing.
    http: Any = import_module("urllib.request")
    request = http.Request(
        url,
        data=msgspec.json.encode({"text": text, "alert": alert}),
        headers={"Content-Type": "application/json", "User-Agent": "toril"},
        method="POST",
    )
    try:
        http.urlopen(request, timeout=TELL_S).close()
    except http.HTTPError as refused:
        refused.close()
        raise
