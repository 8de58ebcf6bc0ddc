"""One group of a call that cannot be stored is refused, and the others are not.

What a script finds wrong with one group is that group's answer (`lua/lib/alone.lua`). What cannot
even be sent refuses the whole call: then each group is sent alone. Never here: what a group is.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import TypeVar

from toril._store.redis.net.faults import answered, as_error
from toril.errors import StoreRefused, TorilError

from . import scripts
from .server import Server

A = TypeVar("A")


async def apart(
    numbers: Sequence[int], send: Callable[[Sequence[int]], Awaitable[Sequence[A]]]
) -> Sequence[A | TorilError]:
    """Send groups together; those that the server can never take get their error, alone.

    Nothing of a refused call was carried out, so nothing is done twice.

    Raises   what ends the call for all of them: TorilErrors of every other kind.
    """
    try:
        return await send(numbers)
    except StoreRefused as error:
        if len(numbers) == 1:
            return [error]
    answers: list[A | TorilError] = []
    for number in numbers:
        try:
            answers += await send([number])
        except TorilError as error:
            # Whatever it is: the others may be stored by now, and must be told so.
            answers.append(error)
    return answers


def group_error(server: Server, what: str, queue: str, word: object) -> TorilError | None:
    """Return the error that a script's answer for one group is; None: it is no error."""
    fault = answered(word) if isinstance(word, str) else None
    if fault is None:
        return None
    text = scripts.load(what).explain(fault.text)
    return as_error(replace(fault, text=text), server.link.address, what, f"{server.base(queue)}*")
