"""A store with something in it, in a file or on a server, and the command line that looks at it."""

import json
import os
import pty
import threading
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from tests.support.desk import Desk, Ended
from tests.support.servers import fresh_prefix, shared_server
from tests.support.warm import commands
from tests.support.workers import until
from toril import Job, Queue, Toril

# Moves the cursor, sets a title, breaks the line, turns the direction, and is markup to rich.
EVIL = "\x1b[2J\x1b]0;owned\x07\r\n\u202egnp.exe [bold]b[/bold] :smile: \x9b31m"
KINDS = ["sqlite", "redis"]


@dataclass(frozen=True)
class Stock:
    """A place for jobs, as a user at a shell sees it and as an app does."""

    desk: Desk
    url: str
    prefix: str

    @property
    def where(self) -> list[str]:
        return ["--url", self.url, "--prefix", self.prefix]

    def toril(self, command: str, *words: str) -> Ended:
        return self.desk.run(command, *words, *self.where)

    def json(self, command: str, *words: str) -> Any:
        ended = self.toril(command, *words, "--json")
        assert ended.err == ""
        return json.loads(ended.out)

    def app(self) -> Toril:
        return Toril(self.url, prefix=self.prefix, warn_unserved=False)

    @asynccontextmanager
    async def queue(self, name: str = "mail") -> AsyncIterator[Queue]:
        async with self.app() as app:
            yield app.queue(name)

    def typed(
        self,
        command: str,
        *words: str,
        answer: str = "",
        columns: int = 200,
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[int, str]:
        """Run it at a terminal, type an answer, and give its exit code and all it wrote."""
        outer, inner = pty.openpty()
        given = {"TERM": "xterm-256color", "COLUMNS": str(columns), **environment}
        written: list[bytes] = []
        reader = threading.Thread(target=_read_all, args=(outer, written))
        reader.start()
        if answer:
            os.write(outer, f"{answer}\n".encode())
        try:
            code = commands().run(
                [command, *words, *self.where],
                folder=self.desk.folder,
                environment={**self.desk.environment, **given},
                streams=[inner, inner, inner],
            )
        finally:
            os.close(inner)
            reader.join()
            os.close(outer)
        return code, b"".join(written).decode()


def _read_all(outer: int, written: list[bytes]) -> None:
    while some := _read(outer):
        written.append(some)


def _read(outer: int) -> bytes:
    try:
        return os.read(outer, 65_536)
    except OSError:  # how a terminal says that nobody writes to it any more
        return b""


def stock(desk: Desk, kind: str) -> Stock:
    if kind == "redis":
        return Stock(desk, shared_server().url, fresh_prefix())
    return Stock(desk, f"sqlite:///{desk.folder / 'jobs.db'}", "bull")


async def known(app: Toril) -> None:
    """Wait until the store knows a worker: it says so once it works already."""
    await until(app.workers)


async def fail(app: Toril, *ids: str, why: str = "no such address", queue: str = "mail") -> None:
    """Let jobs with these ids fail."""

    async def boom(job: Job[Any]) -> None:
        await job.log("first line")
        await job.log(why)
        await job.progress(50)
        raise ValueError(why)

    jobs = [await app.queue(queue).add("send", {"to": "ann"}, id=each) for each in ids]
    async with app.worker(queue, boom):
        for job in jobs:
            async for event in job.events("0"):
                if event.kind == "failed":
                    break
