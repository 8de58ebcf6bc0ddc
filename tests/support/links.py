"""What the tests of the connection layer share: scripts of their own, and links that are closed."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from tests.support.proxy import FaultProxy
from tests.support.servers import HOST, RedisServer
from toril._store.redis.net.address import Address
from toril._store.redis.net.client import RedisClient
from toril._store.redis.net.cluster import link_to


@dataclass(frozen=True)
class Lua:
    """A script, with a name that its errors carry."""

    text: str
    once: bool = False
    name: str = "probe"

    @property
    def sha(self) -> str:
        return hashlib.sha1(self.text.encode()).hexdigest()

    def explain(self, message: str) -> str:
        return message.replace("user_script:", f"{self.name}.lua:")


# Counts how often it was really carried out, and answers a repeated call as it did before.
COUNT = Lua(
    """
    local memory = KEYS[1] .. ':call:' .. ARGV[1]
    local known = redis.call('HMGET', memory, 'number', 'answer')
    if known[1] == ARGV[2] then return known[2] end
    local answer = tostring(redis.call('INCR', KEYS[1]))
    redis.call('HSET', memory, 'number', ARGV[2], 'answer', answer)
    return answer
    """,
    once=True,
)
WHO = Lua("return {ARGV[1], tonumber(ARGV[2])}", once=True)
ECHO = Lua("return ARGV[1]")


class Linked:
    """Opens links, notes what they tell, and closes them."""

    def __init__(self) -> None:
        self.told: list[bool] = []
        self._links: list[RedisClient] = []

    async def open(
        self,
        where: RedisServer | FaultProxy | str,
        *,
        patience: float = 10.0,
        timeout: float | None = None,
    ) -> RedisClient:
        """Open a link; `timeout` is how long a call may take."""
        if isinstance(where, FaultProxy):
            where = f"redis://{HOST}:{where.port}/0"
        url = where.url if isinstance(where, RedisServer) else where
        if timeout is not None:
            url += f"?socket_timeout={timeout}"
        link = link_to(Address.of(url), on_state=self._note, patience=patience)
        self._links.append(link)
        await link.open()
        return link

    def _note(self, up: bool, reason: str) -> None:
        assert reason
        self.told.append(up)

    async def close(self) -> None:
        for link in self._links:
            await link.close()


async def until(look: Callable[[], object], *, within: float = 10.0) -> None:
    """Give the loop its turns until `look()` is true."""
    async with asyncio.timeout(within):
        while not look():  # noqa: ASYNC110 - what is looked at has no event to set
            await asyncio.sleep(0.002)
