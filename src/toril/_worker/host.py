"""What running jobs needs of the worker around it. Never here: running them."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from toril._handlers.handlers import Registry
from toril._jobs.session import Session
from toril._model.options import BackoffFunction
from toril._model.record import Claim
from toril._model.times import Millis

from .reporting import Reporter


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerHost:
    """What running jobs needs.

    Shape    prepare: what must be done before a job of a schedule runs. alone: note in the store
             that a job runs alone. wake: decisions wait to be carried. version: of the code.
    """

    context: Session
    registry: Registry
    reporter: Reporter
    prepare: Callable[[Claim], Coroutine[Any, Any, None]]
    alone: Callable[[Claim], Awaitable[None]]
    wake: Callable[[], None]
    unknown_limit_ms: Millis
    max_stalls: int
    backoff: BackoffFunction | None = None
    version: str | None = None
