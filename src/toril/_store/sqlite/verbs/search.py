"""Jobs by their fields. Never here: which fields a job has (`_model.search`)."""

from collections.abc import Sequence

from toril._model.checks import MAX_WHOLE
from toril._model.record import NewJob, Ref
from toril._model.report import Page, Query
from toril._model.search import LOOKED_AT
from toril._model.stored import whole
from toril._store.sqlite.connection.transaction import Unit, to_json
from toril._store.values import AddAnswer
from toril.errors import TorilError

from .read import Reading, get

Answer = tuple[AddAnswer, ...] | TorilError


def index(unit: Unit, groups: Sequence[Sequence[NewJob]], answers: Sequence[Answer]) -> None:
    """Let jobs that were added be found by their fields."""
    rows = [
        (unit.queue(job.queue).key, answer.id, field, value)
        for group, given in zip(groups, answers, strict=True)
        if not isinstance(given, TorilError)
        for job, answer in zip(group, given, strict=True)
        if answer.created
        for field, value in job.fields
    ]
    if rows:
        unit.run_each("search.put", rows)


def find(read: Reading, query: Query) -> Page:
    """List the jobs with these fields, the newest first."""
    if query.fields_only:
        return Page(ids=tuple(read.rows("search.fields", (query.queue,))))
    (field, value), *others = query.where
    before = MAX_WHOLE if query.before is None else whole(query.before)
    place = (query.queue, field, value, before, LOOKED_AT)
    rows = read.rows("search.find", (*place, to_json(query.states), to_json(others)))
    ids: list[str] = []
    last: int | None = None
    for key, id, fits in rows:
        if len(ids) == query.limit:
            break
        last = key
        if fits:
            ids.append(id)
    done = len(rows) < LOOKED_AT and (not rows or last == rows[-1][0])
    found = get(read, [Ref(query.queue, id) for id in ids], tries=False)
    return Page(
        jobs=tuple(each for each in found if each is not None),
        more=not done,
        next=None if done else str(last),
    )
