"""A TCP proxy in front of a Redis server that does what networks and servers do on a bad day.

It runs in a thread with a loop of its own, so that it goes on while the loop of a test is
blocked. It reads the protocol: a fault can hit one command, before it reaches the server or
after, and what was sent is known command by command.
"""

import asyncio
import contextlib
import socket
import struct
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Self, TypeVar

from tests.robustness.faults.resp import Frames, words_of
from tests.support.servers import HOST, free_port

T = TypeVar("T")

_CHUNK = 65536
_OVER: tuple[float, bytes | None] = (0.0, None)


@dataclass(frozen=True, slots=True)
class Sent:
    """One command that a client sent: when (monotonic s), on which connection, its first words."""

    at: float
    connection: int
    words: tuple[str, ...]
    size: int

    @property
    def name(self) -> str:
        return self.words[0].upper() if self.words else ""


@dataclass(frozen=True, slots=True)
class Fault:
    """What happens to one command; see the functions below."""

    kind: str
    value: Any = None


LOSE_REQUEST = Fault("lose-request")  # the connection ends, and the server has seen nothing
LOSE_REPLY = Fault("lose-reply")  # the server did it; the connection ends instead of its answer
SILENCE = Fault("silence")  # the server did it; the connection is dead from here on, but not closed


def tear(size: int) -> Fault:
    """Send the first bytes of the command, then end the connection."""
    return Fault("tear", size)


def answer(reply: str) -> Fault:
    """Answer in the server's place, which sees nothing: "-READONLY You can't write"."""
    return Fault("answer", f"{reply}\r\n".encode())


def late(seconds: float) -> Fault:
    """Let the server do it, and give its answer so much later."""
    return Fault("late", seconds)


@dataclass(slots=True)
class Trap:
    """A fault that waits for its command; `hits` counts how often it struck."""

    fault: Fault
    matches: Callable[[Sent], bool]
    times: int
    hits: int = 0
    _struck: threading.Event = field(default_factory=threading.Event)

    def struck(self) -> None:
        self.hits += 1
        self._struck.set()

    async def hit(self, *, within: float = 10.0) -> None:
        """Wait until it has struck for the first time."""
        assert await asyncio.to_thread(self._struck.wait, within), f"{self.fault} never struck"


class FaultProxy:
    """A proxy on a port of its own; a context manager.

    Shape    sent: every command that clients sent, in order. connections: how many were made.
             open: how many of these clients still hold. raw: what passes is no plain calls (a
           replica's link): nothing is read, counted or trapped.
    """

    def __init__(self, upstream: int, *, raw: bool = False) -> None:
        self.port = free_port()
        self.raw = raw
        self.upstream = upstream
        self.delay_s = 0.0
        self.pace: float | None = None
        self.is_hole = False
        self.sent: list[Sent] = []
        self.connections = 0
        self._traps: list[Trap] = []
        self._links: dict[int, _Link] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._turn, name="fault-proxy", daemon=True)

    # What it saw.

    @property
    def open(self) -> int:
        return sum(link.is_held for link in list(self._links.values()))

    def count(self, since: int = 0) -> Counter[str]:
        """Count commands by name, from a place in `sent` on."""
        return Counter(each.name for each in self.sent[since:])

    # Faults for one command.

    def trap(
        self,
        name: str | Callable[[Sent], bool],
        fault: Fault,
        *,
        times: int = 1,
    ) -> Trap:
        """Let this happen to the next commands of a name ("EVALSHA"), or that a test picks."""
        matches = name if callable(name) else lambda sent: sent.name == name
        trap = Trap(fault, matches, times)
        self._do(lambda: self._traps.append(trap))
        return trap

    def clear(self) -> None:
        """Take back every trap."""
        self._do(self._traps.clear)

    # Faults of the whole way.

    def delay(self, seconds: float) -> None:
        """Let every command arrive so much later."""
        self.delay_s = seconds

    def drip(self, bytes_per_second: float = 1) -> None:
        """Let bytes pass one by one, both ways."""
        self.pace = bytes_per_second

    def half_open(self) -> None:
        """Swallow what comes on the connections that are there, for ever; new ones work."""

        def silence() -> None:
            for link in self._links.values():
                link.is_silent = True

        self._do(silence)

    def black_hole(self) -> None:
        """Swallow everything, on new connections too; what is silent stays so after `heal`."""
        self.is_hole = True
        self.half_open()

    def refuse(self) -> None:
        """Accept no new connection; those that are there go on."""
        self._await(self._stop_listening())

    def reset(self) -> None:
        """End every connection by RST."""

        def cut() -> None:
            for link in list(self._links.values()):
                link.cut(abruptly=True)

        self._do(cut)

    def hang_up(self) -> None:
        """End every connection in good order."""

        def cut() -> None:
            for link in list(self._links.values()):
                link.cut(abruptly=False)

        self._do(cut)

    def go_down(self) -> None:
        """Refuse new connections and reset those that are there, as a dead server does."""
        self.refuse()
        self.reset()

    def heal(self) -> None:
        """Let everything pass again, on the same port."""
        self.delay_s, self.pace, self.is_hole = 0.0, None, False
        self.clear()
        self._await(self._listen())

    # Its life.

    def __enter__(self) -> Self:
        self._thread.start()
        self._await(self._listen())
        return self

    def __exit__(self, *_: object) -> None:
        self._await(self._shut())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        assert not self._thread.is_alive(), "the proxy does not end"

    def _turn(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_forever()
        self._loop.close()

    def _await(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(10)

    def _do(self, act: Callable[[], object]) -> None:
        async def doing() -> None:
            act()

        self._await(doing())

    async def _listen(self) -> None:
        if self._listener is None:
            self._listener = await asyncio.start_server(self._serve, HOST, self.port)

    async def _stop_listening(self) -> None:
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.close()

    async def _shut(self) -> None:
        await self._stop_listening()
        for link in list(self._links.values()):
            link.cut(abruptly=True)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=5)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self.connections += 1
        number = self.connections
        try:
            upstream = await asyncio.open_connection(HOST, self.upstream)
        except OSError:
            writer.transport.abort()
            self._tasks.discard(task)
            return
        link = self._links[number] = _Link(self, number, (reader, writer), upstream)
        try:
            await link.run()
        finally:
            del self._links[number]
            self._tasks.discard(task)

    def noted(self, sent: Sent) -> Trap | None:
        """Note a command, and give the trap that it runs into."""
        self.sent.append(sent)
        for trap in self._traps:
            if trap.matches(sent):
                trap.times -= 1
                if not trap.times:
                    self._traps.remove(trap)
                return trap
        return None


Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Flow:
    """One direction of a connection: bytes leave in order, each not before its time."""

    def __init__(self, proxy: FaultProxy, writer: asyncio.StreamWriter) -> None:
        self._proxy = proxy
        self._writer = writer
        self._queue: asyncio.Queue[tuple[float, bytes | None]] = asyncio.Queue()

    def put(self, data: bytes, after: float = 0.0) -> None:
        self._queue.put_nowait((time.monotonic() + after, data))

    def end(self) -> None:
        """Close, when what was put before has left."""
        self._queue.put_nowait(_OVER)

    async def run(self) -> None:
        while True:
            due, data = await self._queue.get()
            if data is None:
                return
            if (wait := due - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            sent = 0
            while sent < len(data) and (pace := self._proxy.pace) is not None:
                self._writer.write(data[sent : sent + 1])
                sent += 1
                await asyncio.sleep(1 / pace)
            self._writer.write(data[sent:])
            await self._writer.drain()


class _Link:
    """One client's connection and the one to the server behind it."""

    def __init__(self, proxy: FaultProxy, number: int, client: Ends, server: Ends) -> None:
        self._proxy = proxy
        self._number = number
        self._from_client, self._to_client_writer = client
        self._from_server, self._to_server_writer = server
        self._to_client = _Flow(proxy, self._to_client_writer)
        self._to_server = _Flow(proxy, self._to_server_writer)
        # One entry for each reply that the client waits for: the trap it ran into, or None.
        self._awaited: deque[Trap | None] = deque()
        self._over = asyncio.Event()
        self.is_silent = proxy.is_hole
        self.is_held = True

    async def run(self) -> None:
        work = [
            asyncio.ensure_future(part())
            for part in (self._requests, self._replies, self._to_client.run, self._to_server.run)
        ]
        over = asyncio.ensure_future(self._over.wait())
        try:
            # The first end of anything ends it all: the flows end when they have sent the rest.
            await asyncio.wait([over, *work[2:]], return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (over, *work):
                task.cancel()
            await asyncio.gather(over, *work, return_exceptions=True)
            for writer in (self._to_client_writer, self._to_server_writer):
                writer.close()
                with contextlib.suppress(OSError):
                    await writer.wait_closed()

    def cut(self, *, abruptly: bool) -> None:
        """End it now, by RST or in good order."""
        if abruptly:
            for writer in (self._to_client_writer, self._to_server_writer):
                _abort(writer)
        self._over.set()

    def _pass(self, flow: _Flow, data: bytes) -> None:
        if not self.is_silent:
            flow.put(data)

    async def _requests(self) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := await self._from_client.read(_CHUNK):
                if self._proxy.raw:
                    self._pass(self._to_server, data)
                    continue
                for frame in frames.feed(data):
                    self._request(frame)
        self.is_held = False
        # A silent link outlives its client: nobody tells the server, and it may still be
        # blocked there and swallow what was meant for others.
        if not self.is_silent:
            self._to_server.end()

    def _request(self, frame: bytes) -> None:
        sent = Sent(time.monotonic(), self._number, words_of(frame), len(frame))
        trap = self._proxy.noted(sent)
        if self.is_silent:
            return
        match trap.fault if trap else None:
            case Fault("lose-request"):
                self._to_client.end()
            case Fault("tear", size):
                self._to_server.put(frame[:size])
                self._to_server.end()
            case Fault("answer"):
                self._awaited.append(trap)
                self._answer_in_turn()
                return
            case _:
                self._awaited.append(trap)
                self._to_server.put(frame, self._proxy.delay_s)
                return
        assert trap is not None
        self.is_silent = True  # what comes behind it goes nowhere
        trap.struck()

    async def _replies(self) -> None:
        frames = Frames()
        with contextlib.suppress(OSError):
            while data := await self._from_server.read(_CHUNK):
                if self._proxy.raw:
                    self._pass(self._to_client, data)
                    continue
                for frame in frames.feed(data):
                    if not self.is_silent:
                        self._reply(frame)
        if not self.is_silent:
            self._to_client.end()

    def _reply(self, frame: bytes) -> None:
        if frame[:1] == b">" or not self._awaited:
            self._to_client.put(frame)
            return
        trap = self._awaited.popleft()
        match trap.fault if trap else None:
            case Fault("lose-reply"):
                self.is_silent = True
                self._to_client.end()
            case Fault("silence"):
                self.is_silent = True
            case Fault("late", seconds):
                self._to_client.put(frame, seconds)
            case _:
                self._to_client.put(frame)
        if trap is not None:
            trap.struck()
        self._answer_in_turn()

    def _answer_in_turn(self) -> None:
        """Give the answers of our own whose turn it is."""
        while self._awaited and (trap := self._awaited[0]) and trap.fault.kind == "answer":
            self._awaited.popleft()
            self._to_client.put(trap.fault.value)
            trap.struck()


def _abort(writer: asyncio.StreamWriter) -> None:
    """Close by RST: nothing lingers."""
    own = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):
        own.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()
