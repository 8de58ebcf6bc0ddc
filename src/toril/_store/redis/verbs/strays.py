"""Jobs that are in no list of their queue, where nobody would find them.

No script leaves one behind. Other code, or a person, may take an id out of a list. Recovery looks
at a part of the keys each round and puts such jobs back (`lua/lib/stray.lua`); an examination looks
at all of them and changes nothing.
"""

import re
from collections.abc import Sequence

from toril._store.redis.core.server import Server, places

START = "0"
# Longer lists are not read: a round of a worker may not hold up the server, an examination may a
# little.
LONGEST_OF_A_ROUND, LONGEST = 10_000, 200_000
_MOST_CALLS = 400


def pattern(prefix: str) -> str:
    """Return the pattern of the keys under a prefix."""
    return re.sub(r"([*?\[\]\\])", r"\\\1", prefix) + ":*"


async def find(server: Server, queues: Sequence[str]) -> list[tuple[str, str]]:
    """Return the queue and the id of each job that is in no list."""
    names = list(queues)
    each = {"look": [(number,) for number in places(names).values()]}
    found: set[tuple[str, str]] = set()
    cursor = START
    for _ in range(_MOST_CALLS if names else 0):
        some, cursor = await server.run(
            "strays", names, each, cursor=cursor, pattern=pattern(server.prefix), longest=LONGEST
        )
        found |= {(names[place - 1], id) for place, id in some}
        if cursor == START:
            break
    return sorted(found)
