"""Where an app keeps its jobs, from what its code gives: a URL, a function, or a client."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

from toril._jobs.environment import choose
from toril._jobs.redis_settings import url_of_client
from toril._store.connect import check_prefix, check_url, connect
from toril._store.pending import FetchUrl, PendingStore
from toril._store.protocol import Store

Where = str | FetchUrl | Any
"""A URL, a function that returns one, or a client of redis-py."""


@dataclass(frozen=True, slots=True)
class Place:
    """A store, and the URL and prefix under which it is known."""

    url: str
    prefix: str
    store: Store


def read_where(given: Where | None, prefix: str | None) -> Place:
    """Make the store of an app, without opening it.

    Raises   ConfigError: no store can be what was given.
    """
    url = given if isinstance(given, str) else url_of_client(given)
    if url is None and callable(given):
        prefix = choose(None, prefix).prefix
        check_prefix(prefix)
        pending = PendingStore(cast("Callable[[], Any]", given), prefix)
        return Place(pending.url, prefix, cast("Store", pending))
    checked = check_url(given if url is None else url) if url or given else None
    settings = choose(checked, prefix)
    return Place(settings.url, settings.prefix, connect(settings.url, settings.prefix))
