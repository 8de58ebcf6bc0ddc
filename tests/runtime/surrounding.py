"""Middleware, lifespans and handlers of test_app_hooks that child processes import, too."""

import os
from collections.abc import AsyncIterator, Iterator
from contextvars import ContextVar
from typing import Any

from toril import Depends, Job, Snooze

inner: ContextVar[str] = ContextVar("inner", default="none")
outer: ContextVar[str] = ContextVar("outer", default="none")


def plain(job: Job[Any]) -> Iterator[None]:
    token = outer.set(f"plain {job.name}")
    try:
        yield
    except KeyError as error:
        raise Snooze("1h") from error
    finally:
        outer.reset(token)


async def later(job: Job[Any]) -> AsyncIterator[None]:
    token = inner.set(f"later in {outer.get()}")
    try:
        yield
    finally:
        inner.reset(token)


async def refusing(job: Job[Any]) -> AsyncIterator[None]:
    raise ValueError("not today")
    yield


async def pool() -> AsyncIterator[str]:
    yield f"pool of {os.getpid()}"


def found(job: Job[Any], pool: str = Depends(pool)) -> list[object]:
    return [os.getpid(), outer.get(), inner.get(), pool]


async def found_later(job: Job[Any], pool: str = Depends(pool)) -> list[object]:
    return found(job, pool)


def bare(job: Job[Any]) -> list[object]:
    return [os.getpid(), outer.get(), inner.get(), None]


def failing(job: Job[Any]) -> None:
    raise KeyError("no such thing")
