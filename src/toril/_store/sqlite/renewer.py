"""The Renewer of the SQLite store: blocking calls to the writer thread."""

from collections.abc import Sequence

from toril._model.record import Ref
from toril._model.report import WorkerInfo
from toril._model.times import Millis
from toril._store.sqlite.connection.transaction import Unit, to_json
from toril._store.sqlite.verbs import claim

from .engine import Engine


class SQLiteRenewer:
    """Renews locks for one worker, and takes its name off the list when it closes."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._worker: str | None = None

    def renew(
        self,
        held: Sequence[tuple[Ref, str]],
        lock_ms: Millis,
        worker: WorkerInfo | None = None,
    ) -> list[Ref]:
        """Extend locks and announce the worker; see the protocol."""

        def renew(unit: Unit, groups: None) -> list[Ref]:
            if worker is not None:
                _announce(unit, worker)
            return claim.renew(unit, held, lock_ms, unit.now) if held else []

        if worker is not None:
            self._worker = worker.id
        return self._engine.blocking(renew, None)

    def asked(self, held: Sequence[tuple[Ref, str]]) -> dict[Ref, str]:
        """Return which of these jobs somebody wants to end, and why; see the protocol."""
        asked = to_json([(ref.queue, ref.id, token) for ref, token in held])
        found = self._engine.blocking_read(lambda reading: reading.rows("claim.asked", (asked,)))
        return {held[number][0]: why for number, why in found}

    def close(self) -> None:
        """Take the worker off the list."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._engine.blocking(_forget, worker)


def _forget(unit: Unit, worker: str) -> None:
    """Take a worker off the list."""
    unit.run("presence.worker_leave", (worker,))


def _announce(unit: Unit, worker: WorkerInfo) -> None:
    """Note that a worker of this process is there."""
    who = (worker.id, unit.owner, worker.name, worker.host, worker.pid)
    what = (to_json(list(worker.queues)), worker.concurrency, worker.rate, worker.active)
    declares = None if worker.declares is None else to_json(list(worker.declares))
    vitals = to_json([worker.version, worker.slots, worker.rss, worker.cpu])
    unit.run("presence.worker", (*who, *what, worker.started_ms, unit.now, declares, vitals))
