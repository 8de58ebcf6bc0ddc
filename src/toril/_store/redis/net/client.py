"""The way to a server for one event loop: reads, and scripts that change something once.

A fault that passes is waited out, over new connections if need be. Never here: what a script
does, or logging (`on_state` tells of a line that is lost, and that is back).
"""

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Final, Protocol

from toril._model.stored import whole
from toril.errors import StoreCorrupt, TorilError, Unconfirmed

from .address import Address
from .connection import OnState, SharedConnection, pause, silent
from .dial import CONNECT_S, dial
from .faults import Fault, Kind, as_error, judge
from .idempotency import Callers
from .resp import Connection, ConnectionLost, Oversized, Reply, Word
from .sizes import takes

READ_PATIENCE_S = 10.0
# How long a connection that is suspected may take to answer.
SUSPECT_S = 1.0
# A large call that broke this many connections is not sent over a further one.
MOST_LOSSES = 3
RAISE: Final = object()


class SentScript(Protocol):
    """What a link needs to know of a script.

    Shape    once: it keeps its answer under its first two arguments, the caller and the number
             of the call; `run` puts them in front.
    """

    @property
    def name(self) -> str:
        """The name of the verb."""
        ...

    @property
    def sha(self) -> str:
        """The SHA-1 of the text, as the server knows it."""
        ...

    @property
    def text(self) -> str:
        """The Lua."""
        ...

    @property
    def once(self) -> bool:
        """Whether the script must not be carried out twice."""
        ...

    def explain(self, message: str) -> str:
        """Say in a server's error where in which file it happened."""
        ...


class Trip:
    """One call on its way to an answer, over as many sends as that takes.

    Shape    doubtful: an earlier send may have been carried out, or may still be. large: a word
             of it is longer than every server takes. losses: connections that broke under it.
    """

    __slots__ = (
        "command", "connection", "doubtful", "key", "large", "losses", "script", "until",
    )  # fmt: skip

    def __init__(
        self, command: tuple[Word, ...], key: str | None, until: float, script: SentScript | None
    ) -> None:
        self.command = command
        self.key = key
        self.until = until
        self.script = script
        self.connection: Connection | None = None
        self.doubtful = False
        self.large = False
        self.losses = 0

    @property
    def what(self) -> str:
        """The name of the call, for people to read."""
        return str(self.command[0]) if self.script is None else self.script.name

    def send_text(self, script: SentScript) -> None:
        """Send the script itself from now on, not its name."""
        self.command = ("EVAL", script.text, *self.command[2:])


class RedisClient:
    """Calls a server from one event loop, over one connection that all callers share.

    Units    patience in seconds: how long a read is tried again.
    """

    def __init__(
        self, address: Address, *, on_state: OnState = silent, patience: float = READ_PATIENCE_S
    ) -> None:
        self.address = address
        self.patience = patience
        self._loop = asyncio.get_running_loop()
        self._on_state = on_state
        self._callers = Callers()
        self._line = SharedConnection(self.dial, on_state)
        self._closed = False

    async def open(self) -> None:
        """Connect.

        Raises   StoreUnavailable: the server cannot be reached within 5 s. ConfigError.
        """
        try:
            await self._line.ready(self._loop.time() + 2 * CONNECT_S)
        except ConnectionLost as error:
            raise as_error(judge(error), self.address, "connecting") from error

    async def close(self) -> None:
        """Let the connection go; calls that are under way are lost."""
        self._closed = True
        await self._line.close()

    async def dial(self, key: str | None = None, *, deadline: float | None = None) -> Connection:
        """Make a connection of the caller's own, for calls that block, to where a key is.

        Raises   ConnectionLost · ConfigError.
        """
        return await dial(self.address, deadline=deadline)

    def group(self, key: str) -> str:
        """Return the keys that one blocking call can hold together with this one."""
        return ""

    async def read(self, *command: Word) -> Reply:
        """Call what changes nothing, or may be done twice.

        Raises   StoreUnavailable · ConfigError · StoreFull · StoreCorrupt · StoreError.
        """
        return await self._carry(self._reading(command))

    async def many(
        self, commands: Sequence[Sequence[Word]], *, damaged: Reply = RAISE
    ) -> list[Reply]:
        """Call many such commands at once, and give their replies in order.

        Shape    damaged: represents the reply about a key that holds another kind of value.
        Raises   as `read`, for the first that failed.
        """
        trips = [self._reading(tuple(command)) for command in commands]
        sent = [self._send_now(trip) for trip in trips]
        replies: list[Reply] = []
        for trip, future in zip(trips, sent, strict=True):
            try:
                replies.append(
                    await self._settle(trip, await future if future is not None else None)
                )
            except StoreCorrupt:
                if damaged is RAISE:
                    raise
                replies.append(damaged)
        return replies

    async def run(
        self,
        script: SentScript,
        keys: Sequence[str],
        argv: Sequence[Word],
        *,
        patience: float,
        noted: list[Trip] | None = None,
    ) -> Reply:
        """Run a script; if it is `once`, it is carried out once, however often it is sent.

        Shape    noted: takes the trip when it is answered, whose connection can then be asked.
        Units    patience in seconds: how long it is sent again while a fault may pass.
        Raises   Unconfirmed: it may have been carried out. StoreUnavailable: it was not.
                 ConfigError · StoreFull · StoreCorrupt · StoreError.
        """
        until = self._loop.time() + patience
        key = self._one_place(script, keys)
        head: tuple[Word, ...] = ("EVALSHA", script.sha, len(keys), *keys)
        if not script.once:
            return await self._carry(Trip((*head, *argv), key, until, script))
        caller = self._callers.lend()
        trip = Trip((*head, caller.id, caller.number, *argv), key, until, script)
        over = False
        try:
            reply = await self._carry(trip)
            over = True
            if noted is not None:
                noted.append(trip)
            return reply
        except TorilError:
            over = True
            raise
        finally:
            # A send that was lost may still arrive: a later number of its caller must not be
            # there before it.
            if over and not trip.doubtful:
                self._callers.take_back(caller)

    async def run_many(
        self, calls: Sequence[tuple[SentScript, Sequence[str], Sequence[Word]]], *, patience: float
    ) -> list[Reply | TorilError]:
        """Run scripts at once; what one of them raises is in its answer's place."""
        answers = await asyncio.gather(
            *(self.run(*call, patience=patience) for call in calls), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException) and not isinstance(answer, TorilError):
                raise answer
        return answers

    # One call.

    def _reading(self, command: tuple[Word, ...]) -> Trip:
        return Trip(command, self._key_of(command), self._loop.time() + self.patience, None)

    async def _carry(self, trip: Trip) -> Reply:
        future = self._send_now(trip)
        reply = None if future is None else await future
        if future is None or isinstance(reply, Exception):
            return await self._settle(trip, reply)
        return reply

    def _send_now(self, trip: Trip) -> asyncio.Future[Reply] | None:
        """Send over the connection that is up, if the call may take all its time."""
        connection = self._route(trip.key).connection
        if connection is None or trip.until - self._loop.time() < self.address.socket_timeout:
            return None
        trip.connection = connection
        return connection.call(*trip.command)

    async def _settle(self, trip: Trip, reply: Reply) -> Reply:
        """Return a reply that is good, or send again until there is one."""
        if trip.connection is None:
            reply = await self._send(trip)
        failures = 0
        while isinstance(reply, Exception):
            if isinstance(reply, Oversized) and await self._takes(trip, reply.size):
                reply = await self._send(trip)
                continue
            fault = self._judged(trip, reply)
            trip.doubtful |= fault.maybe_done
            if fault.kind is Kind.NO_SCRIPT and trip.script is not None:
                trip.send_text(trip.script)
            elif fault.kind in (Kind.MOVED, Kind.ASK):
                reply = await self._redirected(trip, fault)
                continue
            elif not fault.passes:
                raise self._error(trip, fault)
            else:
                await self._wait_out(trip, fault, failures)
                failures += 1
            reply = await self._send(trip)
        return reply

    async def _takes(self, trip: Trip, size: int) -> bool:
        """Ask whether the server takes a large value, which would else break the connection."""
        trip.large = True
        connection = trip.connection
        if connection is None or not await takes(connection, lambda: self.dial(trip.key), size):
            return False
        connection.takes = max(connection.takes, size)
        return True

    def _judged(self, trip: Trip, error: Exception) -> Fault:
        """Judge a fault; what breaks one connection after the other shall not go on so."""
        fault = judge(error)
        if trip.large and fault.kind is Kind.RECONNECT and fault.maybe_done:
            trip.losses += 1
            if trip.losses >= MOST_LOSSES:
                meaning = f"the server closed {trip.losses} connections over this large value"
                return Fault(Kind.VALUE, fault.text, meaning, maybe_done=True)
        return fault

    async def _send(self, trip: Trip) -> Reply:
        """Send when there is a connection, and wait no longer for the reply than one waits."""
        if self._closed:
            raise self._error(trip, judge(ConnectionLost("the store was closed")))
        try:
            trip.connection = await self._route(trip.key).ready(trip.until)
        except ConnectionLost as error:
            return error
        return await self._answer(trip, trip.connection.call(*trip.command))

    async def _answer(self, trip: Trip, future: asyncio.Future[Reply]) -> Reply:
        left = trip.until - self._loop.time()
        if left >= self.address.socket_timeout:
            return await future
        try:
            return await asyncio.wait_for(future, max(left, 0.0))
        except TimeoutError:
            return ConnectionLost("no answer in time", sent=True)

    async def _wait_out(self, trip: Trip, fault: Fault, failures: int) -> None:
        """Let some time pass, if there is any left; a lost connection paces itself."""
        connection = trip.connection
        alive = connection is not None and connection.lost is None
        rest = pause(failures) if alive else 0.0
        if self._loop.time() + rest >= trip.until:
            raise self._error(trip, fault)
        if fault.kind is Kind.RECONNECT:
            self.lost_sight(fault)
            if connection is not None:
                self._route(trip.key).drop(connection, fault.told)
        await asyncio.sleep(rest)

    def _error(self, trip: Trip, fault: Fault) -> TorilError:
        script = trip.script
        if script is None:
            return as_error(fault, self.address, trip.what)
        if trip.doubtful and script.once and fault.passes:
            return Unconfirmed(
                f"{self.address.shown}: {script.name}: no answer came in time ({fault.told}): "
                "it may or may not have been carried out"
            )
        count = whole(str(trip.command[2]))
        return as_error(
            replace(fault, text=script.explain(fault.text)),
            self.address,
            script.name,
            ", ".join(str(key) for key in trip.command[3 : 3 + count]),
        )

    # Where it goes: one place here, many in a cluster.

    def _route(self, key: str | None) -> SharedConnection:
        return self._line

    def _key_of(self, command: Sequence[Word]) -> str | None:
        return None

    def _one_place(self, script: SentScript, keys: Sequence[str]) -> str | None:
        """Check that a call's keys can be reached at once, and give one of them."""
        return None

    async def _redirected(self, trip: Trip, fault: Fault) -> Reply:
        raise self._error(trip, fault)

    def suspect(self) -> None:
        """See whether connections still answer, now that another one to the same server does not.

        A way that swallows everything swallows it for all; nobody shall wait for each in turn.
        """
        for line in self._lines_up():
            connection = line.connection
            if connection is not None:
                answer = connection.call("PING")
                self._loop.call_later(SUSPECT_S, _give_up, line, connection, answer)

    def _lines_up(self) -> list[SharedConnection]:
        return [self._line]

    def lost_sight(self, fault: Fault) -> None:
        """Note from a fault that servers may not be where they were."""


def _give_up(line: SharedConnection, connection: Connection, answer: asyncio.Future[Reply]) -> None:
    if not answer.done():
        line.drop(connection, f"no answer in {SUSPECT_S:g} s")
