"""The verb add: groups dealt out to calls that stay bounded, and queues noted by their names.

Never here: how a call looks (`adding`), or what is checked and stored (the Lua does it).
"""

from collections.abc import Collection, Iterator, Mapping, Sequence

from toril._model.times import Millis
from toril._store.redis.core import registry
from toril._store.redis.core.server import PATIENCE_S, Server
from toril._store.redis.core.split_groups import apart
from toril.errors import ConfigError, TorilError

from . import large_group
from .add_rows import AddCall, Answer, Group


async def add(server: Server, groups: Sequence[Group], now: Millis | None) -> list[Answer]:
    """Carry out the verb add."""
    fresh = {job.queue for group in groups for job in group} - server.registered
    refused = await _register(server, fresh) if fresh else {}
    answers: dict[int, Answer] = {}
    wanted: dict[int, Group] = {}
    for number, group in enumerate(groups):
        error = next((refused[job.queue] for job in group if job.queue in refused), None)
        if error is not None:
            answers[number] = error
        elif len(group) > large_group.JOBS_A_GROUP:
            answers[number] = await large_group.add(server, group, now)
        elif group:
            wanted[number] = group
    for call in _calls(server, wanted):
        try:
            opened = await _send(server, call, wanted, answers, now)
        except TorilError as error:
            if not answers:
                raise
            # What earlier calls stored must not be lost sight of.
            answers.update(dict.fromkeys(call.numbers(), error))
        else:
            await _register_again(server, opened - fresh)
    return [answers.get(number, ()) for number in range(len(groups))]


async def _send(
    server: Server,
    call: AddCall,
    groups: Mapping[int, Group],
    answers: dict[int, Answer],
    now: Millis | None,
) -> set[str]:
    """Send a call, or its groups one by one where it cannot be sent; give the queues opened."""
    numbers = list(call.numbers())
    opened: set[str] = set()

    async def send(some: Sequence[int]) -> list[Answer]:
        made = call
        if len(some) < len(numbers):
            made = AddCall(server.prefix)
            for number in some:
                made.take(number, groups[number])
        new, given = await made.send(server, now)
        opened.update(new)
        found = dict(given)
        if made.crowded:
            found |= await _one_by_one(server, made.crowded, groups, now)
        return [found[number] for number in some]

    answers.update(zip(numbers, await apart(numbers, send), strict=True))
    return opened


async def _one_by_one(
    server: Server, numbers: Sequence[int], groups: Mapping[int, Group], now: Millis | None
) -> dict[int, Answer]:
    """Send groups again that had no room together: some of them may have it alone."""
    call = AddCall(server.prefix, merge=False)
    for number in numbers:
        call.take(number, groups[number])
    try:
        _, given = await call.send(server, now)
    except TorilError as error:
        return dict.fromkeys(numbers, error)
    return dict(given)


async def _register(server: Server, queues: Collection[str]) -> dict[str, TorilError]:
    """Note the names of queues where every process finds them; say which cannot be ones."""
    refused: dict[str, TorilError] = {}
    try:
        await registry.register(server.link, server.prefix, sorted(queues), PATIENCE_S)
    except ConfigError as error:
        if len(queues) == 1:
            return dict.fromkeys(queues, error)
        for queue in sorted(queues):
            refused |= await _register(server, (queue,))
    else:
        server.registered.update(queues)
    return refused


async def _register_again(server: Server, queues: Collection[str]) -> None:
    """Note the names of queues that somebody took away since they were noted."""
    if not queues:
        return
    try:
        await _register(server, queues)
    except TorilError:
        # Jobs are stored by now, and that is what counts; the next ones see to the name.
        server.registered.difference_update(queues)


def _calls(server: Server, groups: Mapping[int, Group]) -> Iterator[AddCall]:
    """Deal groups out to calls, in their order; a call reaches one slot of a cluster."""
    open_calls: dict[str, AddCall] = {}
    slots: dict[str, str] = {}
    for number, group in groups.items():
        queue = group[0].queue
        slot = slots.get(queue)
        if slot is None:
            slot = slots[queue] = server.link.group(server.base(queue))
        call = open_calls.get(slot)
        if call is not None and not call.has_room(group):
            yield open_calls.pop(slot)
            call = None
        if call is None:
            call = open_calls[slot] = AddCall(server.prefix)
        call.take(number, group)
    yield from open_calls.values()
