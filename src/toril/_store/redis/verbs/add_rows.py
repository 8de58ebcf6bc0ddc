"""One call of the script add: its rows, and values of its answers.

Jobs that have nothing special go a short way: flat rows, and one number for a run of them. Never
here: which groups go into which call.
"""

import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import msgspec

from toril._model.bounds import JOBS_A_CALL
from toril._model.options import Dedup, JobOptions, ParentPolicy
from toril._model.record import NewJob, Ref
from toril._model.stored import flag
from toril._model.stored_options import to_text
from toril._model.times import Millis
from toril._store.redis.core import keys
from toril._store.redis.core.scripts import row_of
from toril._store.redis.core.server import Rows, Server
from toril._store.redis.core.split_groups import group_error
from toril._store.refusals import no_child, no_parent
from toril._store.values import AddAnswer
from toril.errors import QueueFull, StoreCorrupt, TorilError

Answer = tuple[AddAnswer, ...] | TorilError
Group = Sequence[NewJob]

# What one call may hold; a group is not split for it.
BYTES_A_CALL = 1024 * 1024

_FLAGS: dict[ParentPolicy | None, str] = {
    "fail": "fpof",
    "continue": "cpof",
    "ignore": "idof",
    "remove": "rdof",
}
# Why a job that exists cannot become a child.
_NO_CHILD = {
    "taken": "already has another parent",
    "cycle": "cannot be a child of its own descendant",
}
_json = msgspec.json.encode


def size_of(group: Group) -> int:
    """Say about how many bytes a group takes on its way."""
    total = 0
    for job in group:
        data = job.data
        total += len(data) if data.isascii() else len(data.encode())
        total += len(job.name)
    return total


def link_text(prefix: str, above: Ref, policy: ParentPolicy | None) -> str:
    """Write what a child says of its parent, with what its failure means there."""
    link: dict[str, Any] = {"id": above.id, "queueKey": f"{prefix}:{above.queue}"}
    if policy in _FLAGS:
        link[_FLAGS[policy]] = True
    return _json(link).decode()


class AddCall:
    """One call: its rows, and which groups each of its steps represents."""

    def __init__(self, prefix: str, *, merge: bool = True) -> None:
        self._prefix = prefix
        self._merge = merge
        # Groups that were refused together because all of them had no room.
        self.crowded: list[int] = []
        self._places: dict[str, int] = {}
        self._steps: list[list[Any]] = []
        self._plain: list[tuple[str, str, str, int]] = []
        self._jobs: list[tuple[Any, ...]] = []
        self._takers: list[list[tuple[int, Group]]] = []
        self._bytes = 0
        self._rest: list[tuple[int, int]] = []
        self._hold: list[tuple[str, int]] = []
        self._free: list[tuple[str]] = []
        self._memo: tuple[JobOptions | None, str] = (None, "")

    def has_room(self, group: Group) -> bool:
        """Return whether a group still fits in."""
        jobs = len(self._plain) + len(self._jobs) + len(group)
        return jobs <= JOBS_A_CALL and self._bytes + size_of(group) <= BYTES_A_CALL

    def take(self, number: int, group: Group) -> None:
        """Lay out a group, which the answers will give under this number."""
        self._bytes += size_of(group)
        rows = self._plain_rows(group)
        if rows is None:
            self._step("group", group[0].queue, number, group)
            self._jobs += [self._row(job) for job in group]
        else:
            self._plain += rows
            self._step("plain", group[0].queue, number, group)

    def hold(self, parents: Iterable[Ref], *, own: bool) -> None:
        """Let no parent be released until it is freed, unless a group is refused.

        One of its own that exists already is not held: nothing is added below it.
        """
        self._hold += [(keys.job_key(self._prefix, ref), flag(own)) for ref in parents]

    def expect(self, rest: Group) -> None:
        """Have the first jobs of a group refused unless there is room for those that follow."""
        counts = Counter(job.queue for job in rest if _waits_to_run(job))
        self._rest += [(self._place(queue), count) for queue, count in counts.items()]

    def free(self, parents: Iterable[Ref]) -> None:
        """Release parents that were held as soon as their children allow, maybe at once."""
        for ref in parents:
            self._place(ref.queue)
            self._free.append((keys.job_key(self._prefix, ref),))

    def _step(self, kind: str, queue: str, number: int, group: Group) -> None:
        place = self._place(queue)
        last = self._steps[-1] if self._steps else None
        merges = self._merge and kind == "plain" and last is not None
        if merges and last is not None and last[:2] == [kind, place]:
            last[2] += len(group)
            self._takers[-1].append((number, group))
        else:
            self._steps.append([kind, place, len(group)])
            self._takers.append([(number, group)])

    def _place(self, queue: str) -> int:
        return self._places.setdefault(queue, len(self._places) + 1)

    def _plain_rows(self, group: Group) -> list[tuple[str, str, str, int]] | None:
        """Lay out jobs of one queue that have nothing special but a delay; None when one has."""
        queue = group[0].queue
        rows: list[tuple[str, str, str, int]] = []
        known, text = self._memo
        for job in group:
            if job.id is not None or job.parent is not None or job.queue != queue:
                return None
            if job.expects_children or job.schedule is not None or job.fields:
                return None
            # Jobs that come together mostly share their options.
            if job.options is not known:
                known = job.options
                if not _is_plain(known):
                    return None
                text = to_text(known)
                self._memo = (known, text)
            rows.append((job.name, job.data, text, job.options.delay_ms))
        return rows

    def _row(self, job: NewJob) -> tuple[Any, ...]:
        options = job.options
        above = job.parent
        link = None if above is None else link_text(self._prefix, above, options.parent_on_fail)
        deid, mode, ttl = _dedup(options.dedup)
        return row_of("add", "job")(
            queue=self._place(job.queue),
            id=job.id,
            name=job.name,
            data=job.data,
            opts=self._opts(job),
            timestamp=options.created_ms,
            delay=options.delay_ms,
            at=options.at_ms,
            priority=options.priority,
            front="1" if options.lifo else "",
            waits="1" if job.expects_children else "",
            parent=None if above is None else keys.job_key(self._prefix, above),
            link=link,
            rjk=job.schedule,
            deid=deid,
            mode=mode,
            ttl=ttl,
            index=_json(job.fields).decode() if job.fields else None,
        )

    def _opts(self, job: NewJob) -> str:
        """Write options as BullMQ does: with an id that was chosen, and with the parent."""
        text = to_text(job.options)
        at, created = job.options.at_ms, job.options.created_ms
        if at is not None:
            # What BullMQ's tools show; the script works out the delay that counts.
            wait = max(at - (time.time_ns() // 1_000_000 if created is None else created), 0)
            text = f'{text[:-1]},"delay":{wait}}}'
        if job.id is not None and not _is_uuid(job.id):
            text = f'{text[:-1]},"jobId":{_json(job.id).decode()}}}'
        if job.parent is not None:
            above = {"id": job.parent.id, "queue": f"{self._prefix}:{job.parent.queue}"}
            text = f'{text[:-1]},"parent":{_json(above).decode()}}}'
        return text

    def numbers(self) -> Iterator[int]:
        """Return the numbers of the groups in this call."""
        return (number for step in self._takers for number, _ in step)

    async def send(
        self, server: Server, now: Millis | None
    ) -> tuple[set[str], Iterator[tuple[int, Answer]]]:
        """Send it; give the queues that nobody had used before, and an answer to each group."""
        queues = list(self._places)
        each: dict[str, Rows] = {
            "step": self._steps,
            "plain": self._plain,
            "job": self._jobs,
            "rest": self._rest,
            "hold": self._hold,
            "free": self._free,
        }
        opened, answers = await server.run("add", queues, each, now=now)
        return {queues[place - 1] for place in opened}, self._read(server, answers)

    def _read(self, server: Server, answers: Sequence[Any]) -> Iterator[tuple[int, Answer]]:
        for answer, takers in zip(answers, self._takers, strict=True):
            if isinstance(answer, int):
                for number, group in takers:
                    yield number, tuple([AddAnswer(str(answer + at)) for at in range(len(group))])
                    answer += len(group)
            elif isinstance(answer[0], list):
                error = group_error(
                    server, "add", takers[0][1][0].queue, answer[0][0]
                ) or self._refusal(*answer[0])
                if isinstance(error, QueueFull) and len(takers) > 1:
                    self.crowded += [number for number, _ in takers]
                yield from ((number, error) for number, _ in takers)
            else:
                pairs = zip(answer[::2], answer[1::2], strict=True)
                yield takers[0][0], tuple([AddAnswer(id, word) for id, word in pairs])

    def _refusal(self, word: str, key: str, *numbers: int) -> TorilError:
        if word == "full":
            queue = key.removeprefix(f"{self._prefix}:").removesuffix(":")
            most, waiting, jobs = numbers
            return QueueFull(queue=queue, limit=most, count=waiting, jobs=jobs)
        ref = keys.split_job(self._prefix, key)
        if word == "no-parent":
            return no_parent(ref)
        if word in _NO_CHILD:
            return no_child(ref, _NO_CHILD[word])
        return StoreCorrupt(
            f"the key {key!r} holds another kind of value than a queue has there: nothing was "
            "stored (move it away, or use another prefix)"
        )


def _waits_to_run(job: NewJob) -> bool:
    return not (job.expects_children or job.options.delay_ms or job.options.at_ms is not None)


def _is_plain(options: JobOptions) -> bool:
    return not (
        options.at_ms is not None
        or options.priority
        or options.lifo
        or options.dedup is not None
        or options.created_ms is not None
        or options.deadline_ms is not None
        or options.expires_ms is not None
    )


def _dedup(dedup: Dedup | None) -> tuple[str | int | None, ...]:
    """Return the key of a job, what its options say in words, and the time that it is held."""
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
