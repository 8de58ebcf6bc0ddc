"""A group too large for one call: it comes in several, and nobody runs above what is missing.

Until all of it is stored no parent of it is released; jobs without children may run before. When
a part is refused, what has not started is removed again. Never here: groups of usual size.
"""

from collections.abc import Iterator, Sequence
from contextlib import suppress

from toril._model.bounds import JOBS_A_CALL
from toril._model.record import NewJob, Ref
from toril._model.report import Selection
from toril._model.times import Millis
from toril._store.redis.core import keys
from toril._store.redis.core.server import Server
from toril._store.values import AddAnswer
from toril.errors import JobNotFound, PartlyAdded, TorilError

from . import remove
from .add_rows import BYTES_A_CALL, AddCall, Answer, Group, size_of

# Up to so many jobs a group is one step.
JOBS_A_GROUP = 1_000
# Where only the index is touched, one call does more.
PARENTS_A_CALL = 1_000


async def add(server: Server, group: Group, now: Millis | None) -> Answer:
    """Store a group part by part; give its answers, or why it is not there."""
    added: list[AddAnswer] = []
    held: set[Ref] = set()
    stood: set[Ref] = set()
    own = {Ref(job.queue, job.id) for job in group if job.expects_children and job.id}
    try:
        await _remove_torso(server, group[0], now)
        for part in _parts(group):
            fresh = _not_below(part, stood)
            parents = _parents(fresh) - held
            held |= parents
            call = AddCall(server.prefix)
            call.hold(parents & own, own=True)
            call.hold(parents - own, own=False)
            if not added:
                # Once for all: else jobs of a flow that does not fit would run before it is known.
                call.expect(group[len(part) :])
            answers = iter(await _store(server, call, fresh, now))
            kept = set(map(id, fresh))
            some = [next(answers) if id(job) in kept else _duplicate(job) for job in part]
            stood |= {
                _ref(job)
                for job, one in zip(part, some, strict=True)
                if job.expects_children and not one.created
            }
            added += some
        await _free(server, held, now)
    except TorilError as error:
        return await _undo(server, group, added, (held - own, error))
    return tuple(added)


async def _remove_torso(server: Server, root: NewJob, now: Millis | None) -> None:
    """Remove what a call stored of this flow that was cut off before it had stored all of it.

    Raises   JobLocked: a job of it runs.
    """
    if not root.expects_children or root.id is None:
        return
    key = keys.job_key(server.prefix, Ref(root.queue, root.id))
    mark = f"{server.base(root.queue)}toril:rest"
    if await server.link.read("SISMEMBER", f"{key}:dependencies", mark):
        selection = Selection(queue=root.queue, ids=(root.id,), limit=1)
        selected = await remove.remove(server, selection, now)
        for error in selected.refused.values():
            if isinstance(error, TorilError) and not isinstance(error, JobNotFound):
                raise error


def _ref(job: NewJob) -> Ref:
    return Ref(job.queue, job.id or "")


def _duplicate(job: NewJob) -> AddAnswer:
    return AddAnswer(job.id or "", "duplicate")


def _not_below(part: Group, stood: set[Ref]) -> list[NewJob]:
    """Leave out the jobs below a parent that existed before: its tree is stored already."""
    fresh: list[NewJob] = []
    for job in part:
        if job.parent not in stood:
            fresh.append(job)
        elif job.expects_children:
            stood.add(_ref(job))
    return fresh


def _parts(group: Group) -> Iterator[Group]:
    """Cut a group into what one call may hold."""
    part: list[NewJob] = []
    size = 0
    for job in group:
        more = size_of((job,))
        if part and (len(part) == JOBS_A_CALL or size + more > BYTES_A_CALL):
            yield part
            part, size = [], 0
        part.append(job)
        size += more
    yield part


def _parents(part: Group) -> set[Ref]:
    """Return the jobs that wait for children, or are given some."""
    waiting = {Ref(job.queue, job.id) for job in part if job.expects_children and job.id}
    return waiting | {job.parent for job in part if job.parent is not None}


async def _store(
    server: Server, call: AddCall, part: Group, now: Millis | None
) -> tuple[AddAnswer, ...]:
    if not part:
        return ()
    call.take(0, part)
    _, answers = await call.send(server, now)
    [(_, answer)] = answers
    if isinstance(answer, TorilError):
        raise answer
    return answer


async def _free(server: Server, held: set[Ref], now: Millis | None) -> None:
    parents = list(held)
    for at in range(0, len(parents), PARENTS_A_CALL):
        call = AddCall(server.prefix)
        call.free(parents[at : at + PARENTS_A_CALL])
        await call.send(server, now)


async def _undo(
    server: Server, group: Group, added: Sequence[AddAnswer], why: tuple[set[Ref], TorilError]
) -> TorilError:
    """Remove what was stored and has not started; tell of what could not be removed."""
    others, error = why
    left: list[str] = []
    stored = [Ref(job.queue, one.id) for job, one in zip(group, added, strict=False) if one.created]
    for at in range(0, len(stored), JOBS_A_CALL):
        part = stored[at : at + JOBS_A_CALL]
        for queue in dict.fromkeys(ref.queue for ref in part):
            ids = tuple(ref.id for ref in part if ref.queue == queue)
            left += await _take_away(server, queue, ids)
    # Parents that were there before wait for nothing that does not come.
    with suppress(TorilError):
        await _free(server, others, None)
    if not left:
        return error
    return PartlyAdded(
        f"{error}; {len(left)} of the {len(group)} jobs had started or cannot be removed",
        ids=tuple(left),
    )


async def _take_away(server: Server, queue: str, ids: tuple[str, ...]) -> Sequence[str]:
    # Without children: those of this group are named themselves, and others were there before.
    selection = Selection(queue=queue, ids=ids, limit=JOBS_A_CALL, children=False)
    try:
        selected = await remove.remove(server, selection, None)
    except TorilError:
        return ids
    return [id for id, error in selected.refused.items() if not isinstance(error, JobNotFound)]
