"""What running jobs needs of the worker around it. Never here: running them."""

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from toril._model.options import BackoffFunction
from toril._model.record import Claim
from toril._model.times import Millis

from .context import Context
from .handlers import Registry
from .telling import Telling


@dataclass(frozen=True, slots=True, kw_only=True)
class Means:
    """What running jobs needs.

    Shape    prepare: what must be done before a job of a schedule runs. alone: note in the store
             that a job runs by itself. wake: decisions wait to be carried.
    """

    context: Context
    registry: Registry
    telling: Telling
    prepare: Callable[[Claim], Coroutine[Any, Any, None]]
    alone: Callable[[Claim], Awaitable[None]]
    wake: Callable[[], None]
    unknown_limit_ms: Millis
    max_stalls: int
    backoff: BackoffFunction | None = None
