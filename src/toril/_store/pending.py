"""A store whose URL is fetched when it is first used, for a password that must be fetched first.

Never here: using it; whoever opens it takes the store that `resolve` returns.
"""

import inspect
from collections.abc import Awaitable, Callable
from typing import NoReturn

from toril.errors import StoreUnavailable

from .clock import REAL
from .connect import check_url, connect
from .protocol import Store

FetchUrl = Callable[[], "str | Awaitable[str]"]


class PendingStore:
    """The store of an app until its URL is known."""

    clock = REAL
    url = "(a URL that is fetched at the first use)"
    trips = 1
    switch_interval = None
    broken = None

    def __init__(self, fetch: FetchUrl, prefix: str) -> None:
        self._fetch = fetch
        self._prefix = prefix
        self.on_taken_back: set[Callable[[], None]] = set()
        self.on_notice: set[Callable[[str, str], None]] = set()

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):
            raise AttributeError(name)
        raise StoreUnavailable(f"{self.url} is not known yet: await app.open() first")

    async def resolve(self) -> Store:
        """Fetch the URL, and make the store that it names.

        Raises   ConfigError: no store can be what it says. Whatever fetching it raises.
        """
        found = self._fetch()
        url = await found if inspect.isawaitable(found) else found
        return connect(check_url(url), self._prefix)

    async def close(self) -> None:
        """Do nothing: nothing was opened."""
