"""One connection that any number of callers share: replies are matched to calls by their order.

A call leaves at once while no other one is unanswered; what else is called in one turn of the loop
leaves in one write. A caller that gives up leaves its place behind: its reply is read and dropped,
and never given to somebody else. Never here: what a reply means, where the server is, or trying
again.
"""

import asyncio
import os
import socket
from collections import deque
from collections.abc import Callable
from typing import Any, cast
from weakref import WeakSet

import hiredis

from toril._store.forks import Forkable, follow_forks

# What the server said: text, a number, None, a list of such, or an exception in their place.
Reply = Any
Word = str | int | float | bytes

_NOTHING = object()
_pack: Callable[[tuple[Word, ...]], bytes] = getattr(hiredis, "pack_command")  # noqa: B009 - untyped
# Every server takes values up to this size: its proto-max-bulk-len cannot be lower.
SAFE_BYTES = 1024 * 1024
# A reply that came while the loop stood still is read before the call is held against the server.
_DOUBT_S = 0.05
_FAREWELL_S = 0.5
_connections: "WeakSet[Connection]" = WeakSet()


class ConnectionLost(Exception):
    """There is no connection (any more); `sent` says whether the server may have seen the call."""

    def __init__(self, reason: str, *, sent: bool = False) -> None:
        super().__init__(reason)
        self.sent = sent


class Unsendable(Exception):
    """The call cannot be sent: a word of it is no text or number, or is not valid UTF-8."""


class Oversized(Exception):
    """The call was not sent yet: its longest word has `size` bytes, and may be over a limit."""

    def __init__(self, size: int) -> None:
        super().__init__(f"a value has {size:,} bytes")
        self.size = size


class ErrorReply(hiredis.ReplyError):
    """The server answered a call with an error."""


class Connection(asyncio.Protocol, Forkable):
    """A connection to one server, on one event loop.

    `on_lost` is called once, with the reason, when it breaks; not when it is closed.
    Units    deadline in seconds: when a call is unanswered for longer, the connection is dead.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        self.loop = loop
        self._deadline = deadline
        self._transport: asyncio.Transport | None = None
        self._reader = hiredis.Reader(
            encoding="utf-8", errors="replace", replyError=ErrorReply, notEnoughData=_NOTHING
        )
        self._waiting: deque[tuple[asyncio.Future[Reply], float]] = deque()
        self._out: list[bytes] = []
        self._timer: asyncio.TimerHandle | None = None
        self._doubted: asyncio.Future[Reply] | None = None
        self._now = loop.time
        self._future = loop.create_future
        self._gets = self._reader.gets
        self._gone: asyncio.Future[None] = loop.create_future()
        # The longest word that this server is known to take, in bytes.
        self.takes = SAFE_BYTES
        self.lost: str | None = None
        self.on_lost: Callable[[str], None] | None = None

    def call(self, *words: Word) -> asyncio.Future[Reply]:
        """Send a command, and give what will hold its reply.

        Shape    a fault is a value too: ErrorReply, ConnectionLost, Unsendable or Oversized
                 is in the reply's place, so that nobody need be there to catch it.
        """
        future = self._future()
        if self.lost is not None:
            future.set_result(ConnectionLost(self.lost))
            return future
        try:
            packed = _pack(words)
        except (TypeError, ValueError) as error:
            future.set_result(Unsendable(str(error)))
            return future
        if len(packed) > self.takes:
            longest = _longest(words)
            if longest > self.takes:
                future.set_result(Oversized(longest))
                return future
        if not self._waiting and self._transport is not None:
            self._transport.write(packed)
        else:
            if not self._out:
                self.loop.call_soon(self._flush)
            self._out.append(packed)
        due = self._now() + self._deadline
        self._waiting.append((future, due))
        if self._timer is None:
            self._timer = self.loop.call_at(due, self._check)
        return future

    def announce(self, size: int) -> asyncio.Future[Reply]:
        """Begin a call with a value of this many bytes, which does not follow.

        A server that does not take it says so at once, and closes the connection; one that does
        waits for it. Nothing else can be called on this connection afterwards.
        """
        future = self._future()
        self._flush()
        self._waiting.append((future, self._now() + self._deadline))
        if self._transport is not None and self.lost is None:
            self._transport.write(b"*2\r\n$4\r\nECHO\r\n$%d\r\n" % size)
        return future

    async def ask(self, *words: Word) -> Reply:
        """Send a command and wait for its reply.

        Raises   ErrorReply · ConnectionLost.
        """
        reply = await self.call(*words)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def close(self) -> None:
        """Send what waits, and end; calls without a reply are lost."""
        self.on_lost = None
        if self._transport is not None and self.lost is None:
            self._flush()
            self._transport.close()
        self._end("it was closed")

    async def closed(self) -> None:
        """Close, and see the other side off, if it does not take long."""
        self.close()
        if self._transport is not None:
            try:
                await asyncio.wait({self._gone}, timeout=_FAREWELL_S)
            finally:
                self._transport.abort()

    def abort(self, reason: str) -> None:
        """End at once: the server does not answer, or answers nonsense."""
        self._end(reason)
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """End a connection whose event loop does not run any more, so that it cannot end it."""
        self.on_lost = None
        self.lost = self.lost or "its event loop has ended"
        transport, self._transport = self._transport, None
        if transport is None:
            return
        # asyncio has no public way to close the socket itself.
        sock = getattr(transport.get_extra_info("socket"), "_sock", None)
        if not self.loop.is_closed():
            transport.abort()
        elif getattr(transport, "_sock", None) is not None:
            setattr(transport, "_sock", None)  # noqa: B010 - or it warns that it was not closed
        if sock is not None:
            sock.close()

    def after_fork_in_child(self) -> None:
        """Let go of the parent's socket, without a word to the server or the parent's loop.

        The descriptor is not closed but refers to nothing from here on: its number must not
        be used again while the parent's transport exists.
        """
        self.on_lost = None
        self.lost = "it belongs to the process that this one was forked from"
        sock = None if self._transport is None else self._transport.get_extra_info("socket")
        if sock is not None and (descriptor := sock.fileno()) >= 0:
            nothing = os.open(os.devnull, os.O_RDWR)
            os.dup2(nothing, descriptor, inheritable=False)
            os.close(nothing)

    def _flush(self) -> None:
        if self._out and self._transport is not None and self.lost is None:
            self._transport.write(b"".join(self._out) if len(self._out) > 1 else self._out[0])
        self._out.clear()

    def _check(self) -> None:
        """End the connection if its oldest call is over its time, and still is after a look."""
        self._timer = None
        if not self._waiting:
            return
        oldest, due = self._waiting[0]
        left = due - self._now()
        if left > 0:
            self._timer = self.loop.call_at(due, self._check)
        elif self._doubted is not oldest:
            self._doubted = oldest
            self._timer = self.loop.call_later(_DOUBT_S, self._check)
        else:
            self.abort(f"no answer for {self._deadline:g} s")

    def _end(self, reason: str) -> None:
        if self.lost is not None:
            return
        self.lost = reason
        if self._timer is not None:
            self._timer.cancel()
        self._out.clear()
        waiting, self._waiting = self._waiting, deque()
        for future, _ in waiting:
            if not future.done():
                future.set_result(ConnectionLost(reason, sent=True))
        if self.on_lost is not None:
            self.on_lost(reason)

    # What the transport calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin."""
        self._transport = cast("asyncio.Transport", transport)
        _connections.add(self)
        follow_forks(self)
        sock = transport.get_extra_info("socket")
        if sock is not None:
            keep_awake(sock, self._deadline)

    def data_received(self, data: bytes) -> None:
        """Hand out the replies that are whole."""
        try:
            self._reader.feed(data)
            while (reply := self._gets()) is not _NOTHING:
                future = self._waiting.popleft()[0]
                if not future.done():
                    future.set_result(reply)
        except (hiredis.ProtocolError, IndexError) as error:
            self.abort(f"the server sent what nobody asked for: {error}")

    def connection_lost(self, exc: Exception | None) -> None:
        """End: the other side closed, or the network broke."""
        self._end("the server closed the connection" if exc is None else str(exc) or repr(exc))
        if not self._gone.done():
            self._gone.set_result(None)


def _longest(words: tuple[Word, ...]) -> int:
    """Return the number of bytes of the longest word."""
    texts = [word for word in words if isinstance(word, str | bytes)]
    # Two steps: most words are far too short to be worth encoding.
    near = [word for word in texts if len(word) * 4 > SAFE_BYTES]
    return max((len(w.encode() if isinstance(w, str) else w) for w in near), default=0)


def connections_of(loop: asyncio.AbstractEventLoop) -> list[Connection]:
    """List the connections of an event loop."""
    return [connection for connection in list(_connections) if connection.loop is loop]


def keep_awake(sock: socket.socket, deadline: float) -> None:
    """Make the kernel send at once, and notice a peer that is gone."""
    if sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    wanted = {
        "TCP_KEEPIDLE": 10,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 3,
        "TCP_USER_TIMEOUT": round(deadline * 1000),  # milliseconds
    }
    for name, value in wanted.items():
        option = getattr(socket, name, None)
        if option is not None:
            sock.setsockopt(socket.IPPROTO_TCP, option, value)
