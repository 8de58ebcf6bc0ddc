"""Whether a server takes a value of some size: asked before it is sent.

A server that is sent a value over its limit closes the connection, and with it the calls of
everybody who shares it. Never here: what becomes of a value that is too large.
"""

import asyncio
from collections.abc import Awaitable, Callable

from toril._model.stored import whole
from toril.errors import TorilError

from .resp import Connection, ConnectionLost, ErrorReply

# A server that refuses does so at once; one that is silent for this long waits for the value.
SILENT_S = 0.5


async def takes(
    connection: Connection, dial: Callable[[], Awaitable[Connection]], size: int
) -> bool:
    """Return whether the server takes a value of this many bytes; True where that is not known.

    Servers that do not tell their limit are asked by announcing a value, on another connection.
    """
    told = await connection.call("CONFIG", "GET", "proto-max-bulk-len")
    if isinstance(told, list) and len(told) == 2:  # pyright: ignore[reportUnknownArgumentType]
        return size <= whole(told[1])  # pyright: ignore[reportUnknownArgumentType]
    if isinstance(told, ConnectionLost):
        return True
    try:
        own = await dial()
    except (ConnectionLost, TorilError):
        return True
    try:
        answer = await asyncio.wait_for(own.announce(size), SILENT_S)
    except TimeoutError:
        return True
    finally:
        own.abort("it was only to ask")
    return not isinstance(answer, ErrorReply)
