"""A worker process of a fleet: `python -m toril._serve.worker_process LINE`.

It does what its supervisor says over the line, tells how it is, and ends when the supervisor is
gone. Never here: running jobs, and starting processes.
"""

import asyncio
import logging
import os
import socket
import sys
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial

from toril._app.app import Toril
from toril._jobs.environment import hush
from toril._serve.console import log_as, show_error
from toril._worker.worker import Worker
from toril.errors import ConfigError, StoreError, TorilError

from .channel import Channel, Message
from .reload import own_files
from .serve import Asked, describe_worker, load_worker, looped
from .shutdown import Ending, leave, serve

BEAT_S = 1.0
AGAIN_S = 1.0
MISUSED, FAILED = 2, 1
# A process that is told to end before its worker was made has nothing to put back.
UNMADE = 0

log = logging.getLogger("toril.fleet")


class SupervisedWorker:
    """This process, as one of a fleet."""

    def __init__(self, channel: Channel, orders: Message) -> None:
        self._channel = channel
        self._orders = orders
        self._ending: Ending | None = None
        self._worker: Worker | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._burials: set[asyncio.Task[None]] = set()
        self._expect: Callable[[list[int]], None] = lambda _: None
        self._lock = threading.Lock()
        self._early: list[Message] = []

    # What the supervisor says; in a thread.

    def hear(self, message: Message) -> None:
        """Do what the supervisor says."""
        with self._lock:
            if self._ending is None or self._loop is None:
                if message["do"] in ("stop", "hurry"):
                    leave(UNMADE)
                self._early.append(message)
                return
        match message["do"]:
            case "stop":
                self._ending.ask()
            case "hurry":
                self._ending.hurry()
            case _:
                with suppress(RuntimeError):
                    self._loop.call_soon_threadsafe(self._note, message)

    def orphaned(self) -> None:
        """End: the supervisor is gone."""
        log.error("worker.orphaned: the supervisor is gone; what runs is put back")
        with self._lock:
            if self._ending is None:
                leave(FAILED)
        self._ending.hurry()

    def _note(self, message: Message) -> None:
        if message["do"] == "siblings":
            self._expect(message["pids"])
        elif message["do"] == "bury" and self._worker is not None:
            task = asyncio.ensure_future(self._bury(self._worker, message["dead"]))
            self._burials.add(task)
            task.add_done_callback(self._buried)

    def _buried(self, task: "asyncio.Task[None]") -> None:
        self._burials.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.error("worker.bury_failed: the locks have to pass first", exc_info=error)

    # Working.

    def run(self) -> int:
        """Work until the supervisor or a signal says otherwise; give the exit code."""
        asked = Asked(**self._orders["asked"])
        try:
            app, worker = load_worker(asked)
        finally:
            # Also of what cannot be imported, for it may be changed.
            self._tell_files()
        return looped(self._work(app, worker))

    def _tell_files(self) -> None:
        if self._orders["watch"]:
            self._channel.tell({"say": "files", "files": own_files()})

    async def _work(self, app: Toril, worker: Worker) -> int:
        self._worker = worker
        self._expect = app.context.store.await_word
        self._expect(self._orders["siblings"])

        @worker.on("ready")
        def up() -> None:
            _mute(False)
            lines = list(describe_worker(app, worker))
            told = {"worker": worker.id, "queues": worker.queues, "lines": lines}
            self._channel.tell({"say": "up", **told})

        async with app:
            # Before anything of theirs is found without a word of how they died.
            if self._orders["dead"]:
                await self._bury(worker, self._orders["dead"])
            return await serve([worker], partial(self._attend, worker))

    @asynccontextmanager
    async def _attend(self, worker: Worker, ending: Ending) -> AsyncGenerator[None]:
        loop = asyncio.get_running_loop()
        with self._lock:
            self._loop, self._ending = loop, ending
            early, self._early = self._early, []
        for message in early:
            self._note(message)
        beating = loop.create_task(self._beat(worker))
        beating.add_done_callback(partial(self._beaten, ending))
        try:
            yield
        finally:
            beating.cancel()

    def _beaten(self, ending: Ending, task: "asyncio.Task[None]") -> None:
        """End where the supervisor would wait without result for a word of how this process is."""
        if not task.cancelled():
            log.error(
                "worker.silent: it cannot tell how it is, and ends", exc_info=task.exception()
            )
            ending.ask()

    async def _beat(self, worker: Worker) -> None:
        while True:
            health = worker.health()
            facts = {"live": health.live, "ready": health.ready, "reason": health.reason}
            self._channel.tell({"say": "beat", **facts, "running": health.running})
            await asyncio.sleep(BEAT_S)

    async def _bury(self, worker: Worker, dead: dict[str, Message]) -> None:
        """Take back the jobs of workers that died, however long the store lets that wait."""
        queues = sorted({queue for each in dead.values() for queue in each["queues"]})
        while True:
            try:
                await worker.bury({id: each["how"] for id, each in dead.items()}, queues)
            except StoreError:
                await asyncio.sleep(AGAIN_S)
            else:
                self._channel.tell({"say": "buried", "workers": list(dead)})
                return


def main() -> None:
    """Run this process."""
    line = int(sys.argv[1])
    os.set_inheritable(line, False)
    channel = Channel(socket.socket(fileno=line))
    orders = channel.read()
    if orders is None:
        leave(FAILED)
    log_as(orders["log"])
    if not orders["first"]:
        logging.getLogger("toril.store").addFilter(_is_new)
        hush()
        _mute(True)
    member = SupervisedWorker(channel, orders)
    channel.listen(member.hear, member.orphaned)
    code = _run(member)
    leave(code)


def _is_new(record: logging.LogRecord) -> bool:
    """Pass over what a store says when it is opened: the first process has told it."""
    return getattr(record, "notice", None) in (None, "store.lost", "store.back")


def _mute(on: bool) -> None:
    """Pass over what is said of the user's code while it is loaded: the first process tells it."""
    for name in ("toril.app", "toril.settings", "toril.task"):
        logger = logging.getLogger(name)
        if on:
            logger.addFilter(_nothing)
        else:
            logger.removeFilter(_nothing)


def _nothing(_: logging.LogRecord) -> bool:
    return False


def _run(member: SupervisedWorker) -> int:
    try:
        return member.run()
    except ConfigError as error:
        show_error(error)
        return MISUSED
    except TorilError as error:
        show_error(error)
        return FAILED
    except KeyboardInterrupt:
        return FAILED


if __name__ == "__main__":
    main()
