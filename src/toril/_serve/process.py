"""One worker process as its supervisor sees it: started, spoken to, and seen to its end.

Never here: whether it is replaced.
"""

import asyncio
import logging
import os
import signal
import socket
import sys
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from toril._model.printable import safe

from .channel import LONGEST_LINE, Message, encode
from .messages import Beat, Said, Up, WorkerEnded, read_said

MODULE = "toril._serve.worker_process"
# How long a process whose line is gone may take to end, which it does when it notices.
ALONE_S = 5.0
# What it said last is read by then, unless something that it started holds the line.
LAST_WORDS_S = 0.2
# So many odd lines of one process are reported.
MOST_ODD = 10
LONGEST_SHOWN = 200

Heard = Callable[["WorkerProcess", Said | WorkerEnded], None]

log = logging.getLogger("toril.fleet")


@dataclass(slots=True, eq=False)
class WorkerProcess:
    """A worker process, from its start to its end.

    Shape    place: its number in the fleet. worker: the id under which its jobs are locked, known
             once it is `up`. said: what it last said of its health, `said_at` by the monotonic
             clock. code: below 0 the signal that killed it.
    """

    place: int
    pid: int
    heard: Heard
    worker: str | None = None
    queues: tuple[str, ...] = ()
    said: Beat = field(default_factory=Beat)
    said_at: float = 0.0
    code: int | None = None
    leaving: bool = False
    up: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)
    began: float = field(default_factory=time.monotonic)
    _odd_lines: int = 0
    _process: asyncio.subprocess.Process | None = None
    _writer: asyncio.StreamWriter | None = None
    _task: asyncio.Task[None] | None = None

    @classmethod
    async def start(
        cls,
        place: int,
        orders: Message,
        heard: Heard,
        environment: Mapping[str, str],
    ) -> "WorkerProcess":
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
        """How long ago it was started."""
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
        """Return how it ended."""
        code = self.code
        if code is None:
            return "has not ended"
        if code >= 0:
            return f"ended with exit code {code}"
        with suppress(ValueError):
            return f"was killed by {signal.Signals(-code).name}"
        return f"was killed by signal {-code}"

    async def _attend(self, reader: asyncio.StreamReader) -> None:
        """Hear what it says, and see its end, whatever it says."""
        if self._process is None or self._writer is None:
            return
        waiting = asyncio.create_task(self._process.wait())
        # What it started may still hold the line when it has ended: its end counts, not the line's.
        listening = asyncio.create_task(self._listen(reader))
        try:
            await asyncio.wait((waiting, listening), return_when=asyncio.FIRST_COMPLETED)
            if not waiting.done():
                await self._end_unheard(waiting)
            self.code = await waiting
            await asyncio.wait((listening,), timeout=LAST_WORDS_S)
        finally:
            listening.cancel()
            self._writer.close()
            self.ended.set()
            self.heard(self, WorkerEnded())

    async def _end_unheard(self, waiting: "asyncio.Task[int]") -> None:
        """End a process that cannot be heard or told anything any more."""
        await asyncio.wait((waiting,), timeout=ALONE_S)
        if not waiting.done() and self._process is not None:
            log.error("fleet.line_lost place=%d pid=%d: it is told to end", self.place, self.pid)
            with suppress(ProcessLookupError):
                self._process.terminate()

    async def _listen(self, reader: asyncio.StreamReader) -> None:
        """Hear it until its line ends; an odd line is reported, and passed over."""
        while True:
            try:
                line = await reader.readline()
            except ValueError:
                self._odd(f"a line of more than {LONGEST_LINE:,} bytes")
                continue
            except OSError:
                return
            if not line:
                return
            try:
                self._hear(read_said(line))
            except Exception as error:
                shown = line[: LONGEST_SHOWN + 1].decode(errors="replace").rstrip()
                self._odd(f"{type(error).__name__}: {error}: {safe(shown, LONGEST_SHOWN)}")
            # Others have their turn, however much it says.
            await asyncio.sleep(0)

    def _odd(self, what: str) -> None:
        self._odd_lines += 1
        if self._odd_lines > MOST_ODD:
            return
        last = "; no more are reported" if self._odd_lines == MOST_ODD else ""
        text = "fleet.odd_line place=%d pid=%d: passed over: %s%s"
        log.warning(text, self.place, self.pid, what, last)

    def _hear(self, message: Said) -> None:
        match message:
            case Up():
                if self.up.is_set():
                    raise ValueError("it has come up before")
                self.worker, self.queues = message.worker, message.queues
                self.said_at = time.monotonic()
                self.up.set()
            case Beat():
                self.said, self.said_at = message, time.monotonic()
            case _:
                pass
        self.heard(self, message)


def kill_now(process: asyncio.subprocess.Process) -> None:
    """End a process that may be about to end on its own, without losing how it ended.

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
