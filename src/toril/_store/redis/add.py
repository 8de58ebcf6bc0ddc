"""The verb add: rows for the script, calls that stay bounded, and values of its answers.

Jobs that have nothing special go a short way: flat rows, and one number for a run of them. Never
here: what is checked and stored (the Lua does it).
"""

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from toril._model.options import Dedup, JobOptions, ParentPolicy, to_text
from toril._model.record import NewJob, Ref
from toril._model.times import Millis
from toril._store.protocol import Added
from toril.errors import JobExists, ParentNotFound, StoreCorrupt, TorilError

from . import keys
from .server import Rows, Server

Answer = tuple[Added, ...] | TorilError
Group = Sequence[NewJob]

# What one call may hold; a group is never split, and up to so many jobs may be one.
JOBS_A_CALL = 250
BYTES_A_CALL = 4 * 1024 * 1024

_FLAGS: dict[ParentPolicy | None, str] = {
    "fail": "fpof",
    "continue": "cpof",
    "ignore": "idof",
    "remove": "rdof",
}
_json = msgspec.json.encode


async def add(server: Server, groups: Sequence[Group], now: Millis | None) -> list[Answer]:
    """Carry out the verb add."""
    fresh = {job.queue for group in groups for job in group} - server.registered
    await _register(server, fresh)
    answers: dict[int, Answer] = {}
    for call in _calls(server, groups):
        try:
            opened, given = await call.send(server, now)
        except TorilError as error:
            if not answers:
                raise
            # What earlier calls stored must not be lost sight of.
            answers.update(dict.fromkeys(call.numbers(), error))
        else:
            answers.update(given)
            await _register_again(server, opened - fresh)
    return [answers.get(number, ()) for number in range(len(groups))]


async def _register(server: Server, queues: set[str]) -> None:
    """Note the names of queues where every process finds them."""
    if queues:
        await server.link.read("SADD", keys.own(server.prefix, keys.REGISTRY), *sorted(queues))
        server.registered |= queues


async def _register_again(server: Server, queues: set[str]) -> None:
    """Note the names of queues that somebody took away since they were noted."""
    try:
        await _register(server, queues)
    except TorilError:
        # Jobs are stored by now, and that is what counts; the next ones see to the name.
        server.registered -= queues


def _calls(server: Server, groups: Sequence[Group]) -> Iterator["_Call"]:
    """Deal groups out to calls, in their order; a call reaches one slot of a cluster."""
    open_calls: dict[str, _Call] = {}
    slots: dict[str, str] = {}
    for number, group in enumerate(groups):
        if not group:
            continue
        queue = group[0].queue
        slot = slots.get(queue)
        if slot is None:
            slot = slots[queue] = server.link.group(server.base(queue))
        call = open_calls.get(slot)
        size = _size(group)
        if call is not None and not call.has_room(len(group), size):
            yield open_calls.pop(slot)
            call = None
        if call is None:
            call = open_calls[slot] = _Call(server.prefix)
        call.take(number, group, size)
    yield from open_calls.values()


def _size(group: Group) -> int:
    """Say about how many bytes a group takes on its way."""
    total = 0
    for job in group:
        data = job.data
        total += len(data) if data.isascii() else len(data.encode())
        total += len(job.name)
    return total


class _Call:
    """One call: its rows, and which groups each of its steps stands for."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix
        self._places: dict[str, int] = {}
        self._steps: list[list[Any]] = []
        self._plain: list[tuple[str, str, str]] = []
        self._jobs: list[tuple[Any, ...]] = []
        self._takers: list[list[tuple[int, Group]]] = []
        self._bytes = 0
        self._memo: tuple[JobOptions | None, str] = (None, "")

    def has_room(self, count: int, size: int) -> bool:
        """Say whether a group of so many jobs and bytes still fits in."""
        jobs = len(self._plain) + len(self._jobs)
        return jobs + count <= JOBS_A_CALL and self._bytes + size <= BYTES_A_CALL

    def take(self, number: int, group: Group, size: int) -> None:
        """Lay out a group, which the answers will give under this number."""
        self._bytes += size
        rows = self._plain_rows(group)
        if rows is None:
            self._step("group", group[0].queue, number, group)
            self._jobs += [self._row(job) for job in group]
        else:
            self._plain += rows
            self._step("plain", group[0].queue, number, group)

    def _step(self, kind: str, queue: str, number: int, group: Group) -> None:
        place = self._place(queue)
        last = self._steps[-1] if self._steps else None
        if kind == "plain" and last is not None and last[:2] == [kind, place]:
            last[2] += len(group)
            self._takers[-1].append((number, group))
        else:
            self._steps.append([kind, place, len(group)])
            self._takers.append([(number, group)])

    def _place(self, queue: str) -> int:
        return self._places.setdefault(queue, len(self._places) + 1)

    def _plain_rows(self, group: Group) -> list[tuple[str, str, str]] | None:
        """Lay out jobs of one queue that have nothing special; None when one of them has."""
        queue = group[0].queue
        rows: list[tuple[str, str, str]] = []
        known, text = self._memo
        for job in group:
            if job.id is not None or job.parent is not None or job.queue != queue:
                return None
            if job.expects_children or job.schedule is not None:
                return None
            # Jobs that come together mostly share their options.
            if job.options is not known:
                known = job.options
                if not _is_plain(known):
                    return None
                text = to_text(known)
                self._memo = (known, text)
            rows.append((job.name, job.data, text))
        return rows

    def _row(self, job: NewJob) -> tuple[Any, ...]:
        options = job.options
        above = job.parent
        # In the order of the script's `each job`.
        return (
            self._place(job.queue),
            job.id,
            job.name,
            job.data,
            self._opts(job),
            options.created_ms,
            options.delay_ms,
            options.priority,
            "1" if options.lifo else "",
            "1" if job.expects_children else "",
            None if above is None else keys.job_key(self._prefix, above),
            None if above is None else self._link(above, options.parent_on_fail),
            job.schedule,
            *_dedup(options.dedup),
        )

    def _opts(self, job: NewJob) -> str:
        """Write options as BullMQ does: with an id that was chosen, and with the parent."""
        text = to_text(job.options)
        if job.id is not None and not _is_uuid(job.id):
            text = f'{text[:-1]},"jobId":{_json(job.id).decode()}}}'
        if job.parent is not None:
            above = {"id": job.parent.id, "queue": f"{self._prefix}:{job.parent.queue}"}
            text = f'{text[:-1]},"parent":{_json(above).decode()}}}'
        return text

    def _link(self, above: Ref, policy: ParentPolicy | None) -> str:
        link: dict[str, Any] = {"id": above.id, "queueKey": f"{self._prefix}:{above.queue}"}
        if policy in _FLAGS:
            link[_FLAGS[policy]] = True
        return _json(link).decode()

    def numbers(self) -> Iterator[int]:
        """Give the numbers of the groups in this call."""
        return (number for step in self._takers for number, _ in step)

    async def send(
        self, server: Server, now: Millis | None
    ) -> tuple[set[str], Iterator[tuple[int, Answer]]]:
        """Send it; give the queues that nobody had used before, and an answer to each group."""
        queues = list(self._places)
        each: dict[str, Rows] = {"step": self._steps, "plain": self._plain, "job": self._jobs}
        opened, answers = await server.run("add", queues, each, now=now)
        return {queues[place - 1] for place in opened}, self._read(answers)

    def _read(self, answers: Sequence[Any]) -> Iterator[tuple[int, Answer]]:
        for answer, takers in zip(answers, self._takers, strict=True):
            if isinstance(answer, int):
                for number, group in takers:
                    yield number, tuple([Added(str(answer + at)) for at in range(len(group))])
                    answer += len(group)
            elif isinstance(answer[0], list):
                error = self._refusal(*answer[0])
                yield from ((number, error) for number, _ in takers)
            else:
                pairs = zip(answer[::2], answer[1::2], strict=True)
                yield takers[0][0], tuple([Added(id, word) for id, word in pairs])

    def _refusal(self, word: str, key: str) -> TorilError:
        ref = keys.split_job(self._prefix, key)
        if word == "no-parent":
            return ParentNotFound(
                f"job {ref.id!r} of queue {ref.queue!r}, named as parent, does not exist",
                queue=ref.queue,
                job_id=ref.id,
            )
        if word == "taken":
            return JobExists(
                f"job {ref.id!r} of queue {ref.queue!r} already has another parent",
                queue=ref.queue,
                job_id=ref.id,
            )
        return StoreCorrupt(
            f"the key {key!r} holds another kind of value than a queue has there: nothing was "
            "stored (move it away, or use another prefix)"
        )


def _is_plain(options: JobOptions) -> bool:
    return not (
        options.delay_ms
        or options.priority
        or options.lifo
        or options.dedup is not None
        or options.created_ms is not None
    )


def _dedup(dedup: Dedup | None) -> tuple[str | int | None, ...]:
    """Give the key of a job, what its options say in words, and the time that it is held."""
    if dedup is None:
        return (None, None, None)
    words = {
        "extend": dedup.extend,
        "replace": dedup.replace,
        "reschedule": dedup.reschedule,
        "keep-last": dedup.keep_last,
    }
    return (dedup.key, " ".join(word for word, on in words.items() if on), dedup.ttl_ms)


def _is_uuid(id: str) -> bool:
    # BullMQ does not write the ids that it makes up itself into the options.
    return len(id) == 36 and id[8] == id[13] == id[18] == id[23] == "-"
