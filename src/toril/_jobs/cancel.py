"""Ending jobs that are not wanted any more, and those that were added for them.

Never here: stopping code that runs (running).
"""

from collections.abc import Iterable, Sequence

from toril._model.bounds import JOBS_A_CALL
from toril._model.checks import check_flag
from toril._model.record import Ref, cancel_reason
from toril._model.report import JobPatch
from toril._model.states import State
from toril._store.protocol import Store
from toril.errors import TorilError, WrongState

from .paging import walk
from .reasons import MAX_REASON, reason_text
from .session import Session

PAGE = 1000


async def cancel(
    context: Session, refs: Sequence[Ref], reason: object, *, children: bool
) -> dict[Ref, TorilError]:
    """End these jobs and, unless they are to stay, their children; give why some could not be.

    Parents go first, so that none runs because its children have ended. One that was cancelled
    before is no error: what is left below it goes now.

    Atomic   each job.
    """
    check_flag(children, "children")
    why = reason_text(reason)
    store = await context.ready()
    refused: dict[Ref, TorilError] = {}
    for some in _chunks(dict.fromkeys(refs)):
        errors = await _end(store, some, why)
        refused |= errors
        for root in [ref for ref in some if ref not in errors] if children else []:
            text = cancel_reason(why).removeprefix("cancelled")
            await _end_below(store, root, f"with {root.queue}:{root.id}{text}"[:MAX_REASON])
    return refused


async def _end_below(store: Store, root: Ref, why: str) -> None:
    """End what was added for a job, level by level; what has ended on its own stays as it is."""
    level, seen = [root], {root}
    while level:
        below = [child for parent in level for child in await _open_children(store, parent)]
        level = [ref for ref in dict.fromkeys(below) if ref not in seen]
        seen.update(level)
        for some in _chunks(level):
            await _end(store, some, why)


async def _open_children(store: Store, parent: Ref) -> list[Ref]:
    async def read(offset: int, size: int) -> list[Ref]:
        page = await store.children(parent, outcome="pending", offset=offset, limit=size)
        return [Ref(child.queue, child.id) for child in page.items]

    return [ref async for page in walk(read, PAGE) for ref in page]


async def _end(store: Store, refs: Sequence[Ref], why: str) -> dict[Ref, TorilError]:
    patches = [JobPatch(queue=ref.queue, id=ref.id, cancel=why) for ref in refs]
    answers = await store.update(patches)
    errors = {ref: error for ref, error in zip(refs, answers, strict=True) if error is not None}
    ended = [ref for ref, error in errors.items() if isinstance(error, WrongState)]
    for ref, record in zip(ended, await store.get(ended) if ended else (), strict=True):
        if record and record.state is State.FAILED and record.cancelled is not None:
            del errors[ref]
    return errors


def _chunks(refs: Iterable[Ref]) -> list[list[Ref]]:
    every = list(refs)
    return [every[start : start + JOBS_A_CALL] for start in range(0, len(every), JOBS_A_CALL)]
