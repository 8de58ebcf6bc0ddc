"""The Renewer of the Redis store: a blocking connection of its own, for the heartbeat's thread.

Never here: which commands announce a worker, or what the script `renew` reads (`Renewing` says).
"""

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from toril._model.record import Ref
from toril._model.report import WorkerInfo
from toril._model.times import Millis
from toril._store.forks import Forkable, follow_forks
from toril.errors import ConfigError, StoreFull

from .address import Address
from .client import SentScript
from .cluster import slot_of
from .driver import ERRORS, blocking_client
from .faults import Fault, Kind, as_error, judge
from .resp import Reply, Word

# However short a lock is: a busy server is no silent one.
LEAST_TIMEOUT_S = 1.0

Held = tuple[Ref, str]
Command = Sequence[Word]


@dataclass(frozen=True, slots=True, kw_only=True)
class Renewing:
    """What is called to renew and to announce.

    Shape    pack: the keys and arguments of one call of `script` for these locks; unpack: which
             of them its reply says are lost. base: what a queue's keys begin with. wishes: the
             key that tells which of a queue's jobs somebody wants to end. announce and
             forget: the commands that put a worker on the list, and take it (by id) off.
    """

    script: SentScript
    pack: Callable[[Sequence[Held], Millis], tuple[Sequence[str], Sequence[Word]]]
    unpack: Callable[[Reply, Sequence[Held]], Sequence[Ref]]
    base: Callable[[str], str]
    wishes: Callable[[str], str]
    announce: Callable[[WorkerInfo], Sequence[Command]]
    forget: Callable[[str], Sequence[Command]]


class RedisRenewer(Forkable):
    """Renews locks for one worker from one thread, and takes its name off the list at the end."""

    def __init__(self, address: Address, renewing: Renewing) -> None:
        self._address = address
        self._renewing = renewing
        self._client: Any = None
        self._timeout_s = LEAST_TIMEOUT_S
        self._worker: str | None = None
        follow_forks(self)

    def after_fork_in_child(self) -> None:
        """Use a connection of its own from here on."""
        self._client = self._worker = None

    def renew(
        self, held: Sequence[Held], lock_ms: Millis, worker: WorkerInfo | None = None
    ) -> list[Ref]:
        """Extend locks and announce the worker; see the protocol."""
        # A connection that went silent must leave time to renew over another one.
        self._timeout_s = max(lock_ms / 3000, LEAST_TIMEOUT_S)
        lost: list[Ref] = []
        for some in self._groups(held):
            keys, argv = self._renewing.pack(some, lock_ms)
            lost += self._renewing.unpack(self._run(keys, argv), some)
        if worker is not None:
            self._worker = worker.id
            # Without room left, or the right to, the locks were extended all the same.
            with suppress(StoreFull, ConfigError):
                self._call(self._renewing.announce(worker))
        return lost

    def asked(self, held: Sequence[Held]) -> dict[Ref, str]:
        """Return which of these jobs somebody wants to end, and why; see the protocol."""
        found: dict[Ref, str] = {}
        for some in self._groups(held):
            by_queue: dict[str, list[str]] = {}
            for ref, _ in some:
                by_queue.setdefault(ref.queue, []).append(ref.id)
            # Hardly ever is there a wish: one command says so.
            if self._send(("EXISTS", *map(self._renewing.wishes, by_queue))):
                for queue, ids in by_queue.items():
                    found |= self._wishes(queue, ids)
        return found

    def _wishes(self, queue: str, ids: Sequence[str]) -> dict[Ref, str]:
        told = self._send(("HMGET", self._renewing.wishes(queue), *ids))
        asked = [id for id, why in zip(ids, told, strict=True) if why is not None]
        base = self._renewing.base(queue)
        # A wish may outlive its job where others settled that; the job itself knows.
        whys = [self._send(("HGET", f"{base}{id}", "toril:cancel")) for id in asked]
        return {Ref(queue, id): why for id, why in zip(asked, whys, strict=True) if why is not None}

    def close(self) -> None:
        """Take the worker off the list, and disconnect; see the protocol."""
        worker, self._worker = self._worker, None
        client = self._client
        try:
            if worker is not None and client is not None:
                self._call(self._renewing.forget(worker))
        finally:
            self._client = None
            if client is not None:
                client.close()

    def _groups(self, held: Sequence[Held]) -> list[Sequence[Held]]:
        """Split locks into those that one call can reach: in a cluster those of one slot."""
        if not self._address.cluster:
            return [held] if held else []
        groups: dict[int, list[Held]] = {}
        for each in held:
            groups.setdefault(slot_of(self._renewing.base(each[0].queue)), []).append(each)
        return list(groups.values())

    def _run(self, keys: Sequence[str], argv: Sequence[Word]) -> Reply:
        script = self._renewing.script
        rest = (len(keys), *keys, *argv)
        try:
            return self._connected().execute_command("EVALSHA", script.sha, *rest)
        except ERRORS as error:
            if judge(error).kind is not Kind.NO_SCRIPT:
                raise self._failed(judge(error)) from None
        return self._send(("EVAL", script.text, *rest))

    def _call(self, commands: Sequence[Command]) -> None:
        for command in commands:
            self._send(command)

    def _send(self, command: Command) -> Reply:
        try:
            return self._connected().execute_command(*command)
        except ERRORS as error:
            # Not as the cause: where it connects, a server may repeat the password in it.
            raise self._failed(judge(error)) from None

    def _connected(self) -> Any:
        self._client = self._client or blocking_client(self._address, self._timeout_s)
        return self._client

    def _failed(self, fault: Fault) -> Exception:
        text = Fault(fault.kind, self._renewing.script.explain(fault.text), fault.meaning)
        return as_error(text, self._address, "renewing locks")
