"""What the children of test_dependencies run. Imported in them, and by the tests only to name it."""

import functools
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Annotated, Any

from toril import Depends, Job, handles

pools = sessions = 0


def say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


async def pool() -> AsyncIterator[str]:
    global pools
    pools += 1
    yield f"pool {pools}"
    say("pool ended")


def session(job: Job[Any], pool: str = Depends(pool, scope="worker")) -> Iterator[str]:
    global sessions
    sessions += 1
    yield f"{pool}, session {sessions}"
    say("session ended")


async def on_a_loop(x: int, session: str = Depends(session)) -> str:
    return f"{x}: {session}"


async def later(session: str = Depends(session)) -> AsyncIterator[str]:
    yield session


def plain(x: int, *, text: Annotated[str, Depends(later)] = "") -> str:
    return f"{x}: {text}"


class Cards:
    def __init__(self, pool: str = Depends(pool)) -> None:
        self._pool = pool

    @handles("draw")
    async def draw(self, job: Job[Any], session: str = Depends(session)) -> str:
        return f"{job.data}: {session}"

    @handles("drop")
    def drop(self, job: Job[Any]) -> str:
        return f"{job.data}: {self._pool}"


async def no_database() -> AsyncIterator[str]:
    raise ConnectionError("no database")
    yield "never"


def broken(session: str = Depends(no_database)) -> None: ...


def _wrapper(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return function(*args, **kwargs)

    return wrapper


@_wrapper
async def wrapped(x: int) -> int:
    return x
