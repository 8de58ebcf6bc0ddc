"""One worker process as its supervisor sees it: started, spoken to, and seen to its end.

Never here: whether it is replaced.
"""

import asyncio
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from .channel import LONGEST_LINE, Message, decode, encode

MODULE = "toril.cli.member"
# What is heard of a process last of all; it does not say it itself.
ENDED = "ended"


@dataclass(slots=True, eq=False)
class Process:
    """A worker process, from its start to its end.

    Shape    place: its number in the fleet. worker: the id under which its jobs are locked, known
             once it is `up`. said: what it last said of its health, `said_at` by the monotonic
             clock. code: below 0 the signal that killed it.
    """

    place: int
    pid: int
    heard: Callable[["Process", Message], None]
    worker: str | None = None
    queues: tuple[str, ...] = ()
    said: Message = field(default_factory=dict[str, Any])
    said_at: float = 0.0
    code: int | None = None
    leaving: bool = False
    up: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.monotonic)
    _process: asyncio.subprocess.Process | None = None
    _writer: asyncio.StreamWriter | None = None
    _task: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        place: int,
        orders: Message,
        heard: Callable[["Process", Message], None],
        environment: Mapping[str, str],
    ) -> "Process":
        """Start one: a new interpreter, never a fork of this one."""
        ours, theirs = socket.socketpair()
        with theirs:
            # Not in the terminal's group: Ctrl-C is for the supervisor, which passes it on once.
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", MODULE, str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stdin=asyncio.subprocess.DEVNULL,
                env={**os.environ, **environment}, process_group=0,
            )  # fmt: skip
        reader, writer = await asyncio.open_connection(sock=ours, limit=LONGEST_LINE)
        found = cls(place, process.pid, heard, _process=process, _writer=writer)
        found.tell(orders)
        found._task = asyncio.create_task(found._attend(reader))
        return found

    @property
    def lived_s(self) -> float:
        """Say how long ago it was started."""
        return time.monotonic() - self.began

    def tell(self, message: Message) -> None:
        """Send it a message; one that has ended hears nothing."""
        if self._writer is not None and not self._writer.is_closing():
            self._writer.write(encode(message))

    def stop(self) -> None:
        """Tell it to claim no more, and to end within its grace."""
        self.leaving = True
        self.tell({"do": "stop"})

    def hurry(self) -> None:
        """Tell it to put back what it has, and to end."""
        self.leaving = True
        self.tell({"do": "hurry"})

    def kill(self) -> None:
        """End it, whatever it does."""
        if self._process is not None:
            kill_now(self._process)

    def how(self) -> str:
        """Say how it ended."""
        code = self.code
        if code is None:
            return "has not ended"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    async def _attend(self, reader: asyncio.StreamReader) -> None:
        """Hear what it says, and see its end."""
        if self._process is None or self._writer is None:
            return
        waiting = asyncio.create_task(self._process.wait())
        # What it started may still hold the line when it has ended: its end counts, not the line's.
        listening = asyncio.create_task(self._listen(reader))
        self.code = await waiting
        with suppress(TimeoutError):
            await asyncio.wait_for(listening, 0.2)
        self._writer.close()
        self.ended.set()
        self.heard(self, {"say": ENDED})

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        with suppress(OSError, ValueError):
            while line := await reader.readline():
                self._hear(decode(line))

    def _hear(self, message: Message) -> None:
        match message.get("say"):
            case "up":
                self.worker, self.queues = message["worker"], tuple(message["queues"])
                self.said_at = time.monotonic()
                self.up.set()
            case "beat":
                self.said, self.said_at = message, time.monotonic()
            case _:
                pass
        self.heard(self, message)


def kill_now(process: asyncio.subprocess.Process) -> None:
    """End a process that may be about to end by itself, without losing how it ended.

    Its own method looks first whether it has ended: if it just has, its exit code is taken from
    under asyncio, which then says 255.
    """
    if process.returncode is not None:
        return
    if sys.platform == "win32":
        process.kill()
        return
    with suppress(ProcessLookupError):
        os.kill(process.pid, signal.SIGKILL)
