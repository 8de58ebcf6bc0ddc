"""Running again what dead letters tell of.

Never here: writing a letter, or taking it back when its job has completed: the store does both,
in the step that settles the job.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from toril._model.bounds import JOBS_A_CALL
from toril._model.dead_letter import Original, read_letter
from toril._model.record import NewJob, Record, Ref
from toril._model.report import Query, Selection
from toril._model.states import READY, State
from toril._model.stored_options import from_text
from toril._store.protocol import Store
from toril.errors import ConfigError, JobError, JobLocked, JobNotFound, TorilError, WrongState

from .job import Job
from .paging import list_jobs
from .session import Session
from .turns import Pace


class Found(NamedTuple):
    """A dead letter, and the job that it tells of."""

    letter: Record
    original: Original

    @property
    def job(self) -> Ref:
        """Where the job is, or was."""
        return Ref(self.original.queue, self.original.id)


class Replayed(NamedTuple):
    """What became of some letters: the jobs that run, how many letters went, why others stay."""

    jobs: list[Ref]
    removed: int
    refused: list[Exception]


async def replay_all(context: Session, queue: str, limit: int | None) -> list[Job[Any]]:
    """Run the jobs of the letters that wait, oldest first; those that run already are omitted."""
    store = await context.ready()
    again: list[Ref] = []
    letters = list_jobs(store, Query(queue=queue, states=READY), None)
    pace = Pace(JOBS_A_CALL)
    while limit is None or len(again) < limit:
        size = pace.limit if limit is None else min(pace.limit, limit - len(again))
        some: list[Found] = []
        async for letter in letters:
            some.append(_read(letter))
            if len(some) == size:
                break
        again += (await pace.call(_run_again(store, some))).jobs
        if len(some) < size:
            break
    return await _jobs(context, again)


async def replay_some(context: Session, queue: str, ids: Sequence[str]) -> list[Job[Any]]:
    """Run the jobs of these letters again; of 250, nothing is done when one of them cannot."""
    store = await context.ready()
    again: list[Ref] = []
    for at in range(0, len(ids), JOBS_A_CALL):
        refs = [Ref(queue, letter_id) for letter_id in dict.fromkeys(ids[at : at + JOBS_A_CALL])]
        letters = await store.get(refs)
        found = [_read(_there(*each)) for each in zip(refs, letters, strict=True)]
        *_, refused = await _sort(store, found)
        done = Replayed([], 0, [*refused]) if refused else await _run_again(store, found)
        if done.refused:
            raise done.refused[0]
        again += done.jobs
    return await _jobs(context, again)


async def _run_again(store: Store, letters: Sequence[Found]) -> Replayed:
    kept, gone, refused = await _sort(store, letters)
    retried = await _retry(store, kept)
    added = await _add(store, gone)
    jobs = retried.jobs + added.jobs
    return Replayed(jobs, added.removed, [*refused, *retried.refused, *added.refused])


async def _retry(store: Store, letters: Sequence[Found]) -> Replayed:
    """Retry jobs that are kept; the store takes their letters back when they have completed."""
    by_queue: dict[str, list[str]] = {}
    for found in letters:
        by_queue.setdefault(found.job.queue, []).append(found.job.id)
    done = Replayed([], 0, [])
    for queue, ids in by_queue.items():
        selected = await store.retry(
            Selection(queue=queue, ids=tuple(ids), limit=JOBS_A_CALL, reset_attempts=True)
        )
        done.jobs.extend(Ref(queue, job_id) for job_id in selected.ids)
        done.refused.extend(selected.refused.values())
    return done


async def _add(store: Store, letters: Sequence[Found]) -> Replayed:
    """Add jobs that are gone again, and remove their letters."""
    added: list[Ref] = []
    read: dict[str, list[str]] = {}
    refused: list[Exception] = []
    anew: list[tuple[Found, NewJob]] = []
    for found in letters:
        try:
            anew.append((found, _anew(found)))
        except ConfigError as error:
            refused.append(_refusal(found.letter, str(error)))
    answers = await store.add([[job] for _, job in anew]) if anew else []
    for (found, _), answer in zip(anew, answers, strict=True):
        if isinstance(answer, TorilError):
            refused.append(answer)
        elif not answer[0].created:
            refused.append(_refusal(found.letter, f"there is a job {found.job.id!r} by now"))
        else:
            added.append(Ref(found.job.queue, answer[0].id))
            read.setdefault(found.letter.queue, []).append(found.letter.id)
    removed = 0
    for queue, ids in read.items():
        selected = await store.remove(Selection(queue=queue, ids=tuple(ids), limit=JOBS_A_CALL))
        removed += len(selected.ids)
    return Replayed(added, removed, refused)


async def _sort(
    store: Store, letters: Sequence[Found]
) -> tuple[list[Found], list[Found], list[TorilError]]:
    """Part the letters: their job is kept and failed, it is gone, it cannot run again."""
    kept: list[Found] = []
    gone: list[Found] = []
    refused: list[TorilError] = []
    jobs = await store.get([found.job for found in letters])
    for found, job in zip(letters, jobs, strict=True):
        error = _objection(found.letter, job)
        if error is not None:
            refused.append(error)
        else:
            (gone if job is None else kept).append(found)
    return kept, gone, refused


def _objection(letter: Record, job: Record | None) -> TorilError | None:
    if job is None:
        reading = letter.state is State.ACTIVE
        return _refusal(letter, "a worker is reading it", JobLocked) if reading else None
    name = f"its job {job.queue}:{job.id}"
    if job.state is not State.FAILED:
        return _refusal(letter, f"{name} is {job.state}, not failed")
    if job.letter != f"{letter.queue}:{letter.id}":
        has = f"the letter {job.letter}" if job.letter else "no letter"
        return _refusal(letter, f"{name} has failed another time since, and has {has}")
    return None


def _refusal(letter: Record, why: str, kind: type[JobError] = WrongState) -> JobError:
    return kind(
        f"letter {letter.id!r} of queue {letter.queue!r} cannot be replayed: {why}",
        queue=letter.queue,
        job_id=letter.id,
    )


def _read(letter: Record) -> Found:
    read = read_letter(letter.name, letter.data)
    if read is None:
        raise JobError(
            f"job {letter.id!r} ({letter.name!r}) of queue {letter.queue!r} is no dead letter: "
            "replay works on the queue that dead_letter= names",
            queue=letter.queue,
            job_id=letter.id,
        )
    return Found(letter, read.original_job)


def _there(ref: Ref, letter: Record | None) -> Record:
    if letter is None:
        raise JobNotFound(
            f"there is no letter {ref.id!r} in queue {ref.queue!r}: it was removed, or its job "
            "has completed since",
            queue=ref.queue,
            job_id=ref.id,
        )
    return letter


def _anew(found: Found) -> NewJob:
    """Make the job that a letter tells of, to run now, whatever it once was to wait for."""
    original = found.original
    options = from_text(bytes(original.opts).decode())
    return NewJob(
        queue=original.queue,
        name=original.name,
        data=bytes(original.data).decode(),
        options=replace(options, delay_ms=0, at_ms=None, dedup=None, created_ms=None),
        # A number is the queue's to give, and a schedule's id stands for one of its runs.
        id=None if original.id.isdigit() or ":" in original.id else original.id,
    )


async def _jobs(context: Session, refs: Sequence[Ref]) -> list[Job[Any]]:
    jobs: list[Job[Any]] = []
    for at in range(0, len(refs), JOBS_A_CALL):
        records = await context.store.get(refs[at : at + JOBS_A_CALL])
        jobs += [Job(context, record) for record in records if record is not None]
    return jobs
