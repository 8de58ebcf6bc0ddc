"""What every verb needs of a server: its queues' keys, and a way to run scripts and reads.

Never here: what a verb does.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from toril._store.redis.net.client import RedisClient, Trip

from . import keys, scripts
from .registry import Sighting

# How long a change is tried again while a fault may pass. Nobody waits for ever for an answer;
# what a worker has to say must arrive while its lock may live.
PATIENCE_S = 10.0
WORK_PATIENCE_S = 30.0

Rows = Sequence[Sequence[Any]]


class Server:
    """The queues under one prefix of one deployment, on one event loop.

    Shape    registered: queues whose names are known to be in the registry. noted: where it
             is given, the trips of all changes that were answered are noted there.
    """

    __slots__ = ("link", "noted", "prefix", "registered", "sighting")

    def __init__(self, prefix: str, link: RedisClient) -> None:
        self.prefix = prefix
        self.link = link
        self.noted: list[Trip] | None = None
        self.registered: set[str] = set()
        self.sighting = Sighting()

    def over(self, link: RedisClient, noted: list[Trip]) -> "Server":
        """Return the same queues, reached another way."""
        other = Server(self.prefix, link)
        other.noted = noted
        other.registered = self.registered
        other.sighting = self.sighting
        return other

    def base(self, queue: str) -> str:
        """Return what the keys of a queue begin with."""
        return keys.base(self.prefix, queue)

    async def run(
        self,
        script_name: str,
        queues: Sequence[str],
        each: Mapping[str, Rows] | None = None,
        /,
        *,
        patience: float = PATIENCE_S,
        **args: Any,
    ) -> Any:
        """Run a script on these queues; rows name a queue by its place in them, from 1.

        Raises   StoreUnavailable · Unconfirmed · StoreFull · StoreError.
        """
        script = scripts.load(script_name)
        if "prefix" in script.args:
            args["prefix"] = self.prefix
        bases = [self.base(queue) for queue in queues]
        packed = script.pack(each or {}, **args)
        return await self.link.run(script, bases, packed, patience=patience, noted=self.noted)


def places(queues: Sequence[str]) -> dict[str, int]:
    """Number queues as rows name them: in their order, from 1, each once."""
    return {queue: number for number, queue in enumerate(dict.fromkeys(queues), 1)}
