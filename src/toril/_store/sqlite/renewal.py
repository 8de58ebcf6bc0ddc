"""The Renewer of the SQLite store: blocking calls to the writer thread."""

from collections.abc import Sequence

from toril._model.record import Ref
from toril._model.report import WorkerInfo
from toril._model.times import Millis

from . import claim
from .engine import Engine, announce, forget_worker
from .unit import Unit, clock, to_json


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
            now = clock()
            if worker is not None:
                announce(unit, worker, now)
            return claim.renew(unit, held, lock_ms, now) if held else []

        if worker is not None:
            self._worker = worker.id
        return self._engine.blocking(renew, None)

    def asked(self, held: Sequence[tuple[Ref, str]]) -> dict[Ref, str]:
        """Say which of these jobs somebody wants to end, and why; see the protocol."""
        asked = to_json([(ref.queue, ref.id, token) for ref, token in held])
        found = self._engine.blocking_read(lambda reading: reading.rows("claim.asked", (asked,)))
        return {held[number][0]: why for number, why in found}

    def close(self) -> None:
        """Take the worker off the list."""
        worker, self._worker = self._worker, None
        if worker is not None:
            self._engine.blocking(forget_worker, worker)
