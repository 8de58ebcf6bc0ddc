"""Callers who share a trip to the store: one caller's bad value is refused, the others go on."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from toril import ConfigError, Custom, Dedup, Job, Toril
from toril._jobs.batching import Batcher
from toril._model.options import JobOptions
from toril._model.record import NewJob, Record, Ref
from toril._model.report import JobPatch
from toril._store.values import LogLine
from toril.errors import StoreRefused, TorilError

ODD = "caf\udce9.txt"  # what os.fsdecode makes of a file name that is not UTF-8

FIELDS: dict[str, dict[str, Any]] = {
    "name": {"name": ODD},
    "id": {"id": ODD},
    "dedup": {"dedup": ODD},
    "dedup.number": {"dedup": 5},
    "dedup.mapping": {"dedup": {"key": "a"}},
    "dedup.key": {"dedup": lambda: Dedup(ODD)},
    "backoff": {"attempts": 3, "backoff": {"type": ODD}},
    "backoff.type": {"attempts": 3, "backoff": object()},
    "parent": {"parent": "1"},
    "parent.id": {"parent": Ref("mail", ODD)},
    "parent.queue": {"parent": Ref(ODD, "1")},
    "lifo": {"lifo": object()},
    "priority": {"priority": "high"},
    "delay": {"delay": object()},
    "at": {"at": "tomorrow"},
    "keep": {"keep": object()},
    "keep_logs": {"keep_logs": 2**70},
    "attempts": {"attempts": 2**70},
    "long name": {"name": "n" * 5_000},
    "data": {"data": ODD},
}


@pytest.mark.parametrize("case", FIELDS)
async def test_a_bad_add_is_refused_alone(anywhere: Toril, case: str) -> None:
    queue = anywhere.queue("mail")

    async def bad() -> object:
        given = dict(FIELDS[case])
        if callable(given.get("dedup")):
            given["dedup"] = given["dedup"]()
        return await queue.add(given.pop("name", "bad"), given.pop("data", None), **given)

    answers = await asyncio.gather(
        queue.add("good", 1), queue.add("good", 2), bad(), queue.add("good", 3),
        return_exceptions=True,
    )  # fmt: skip

    refused = answers[2]
    assert isinstance(refused, ConfigError), refused
    assert str(refused.field).split(".")[0] in str(refused)
    assert all(isinstance(answers[at], Job) for at in (0, 1, 3))
    assert (await queue.counts()).total == 3


def test_a_custom_backoff_has_a_name_that_can_be_stored() -> None:
    with pytest.raises(ConfigError, match="UTF-8"):
        Custom(ODD)


async def test_threads_do_not_hear_of_one_another(anywhere: Toril) -> None:
    queue = anywhere.queue("mail")
    await queue.add("first")
    faults: list[BaseException] = []
    refusals: list[ConfigError] = []

    def good() -> None:
        for number in range(20):
            try:
                queue.add_sync("good", number)
            except BaseException as error:
                faults.append(error)

    def odd() -> None:
        for _ in range(20):
            try:
                queue.add_sync("odd", {}, dedup=ODD)
            except ConfigError as error:
                refusals.append(error)

    threads = [threading.Thread(target=target) for target in (good, odd, good, good)]
    for thread in threads:
        thread.start()
    for thread in threads:
        await asyncio.to_thread(thread.join)

    assert not faults
    assert len(refusals) == 20
    assert (await queue.counts()).total == 61


PATCHES: dict[str, tuple[Callable[[Job[Any]], Awaitable[object]], str]] = {
    "set_priority": (lambda job: job.set_priority("1"), "priority"),  # type: ignore[arg-type]
    "set_priority.size": (lambda job: job.set_priority(10**30), "priority"),
    "lifo": (lambda job: job.set_priority(1, lifo=object()), "lifo"),  # type: ignore[arg-type]
    "reschedule": (lambda job: job.reschedule(object()), "delay"),  # type: ignore[arg-type]
    "update": (lambda job: job.update({"path": ODD}), "data"),
    "progress": (lambda job: _awaited(lambda: job.progress(ODD)), "progress"),
    "log": (lambda job: _awaited(lambda: job.log(5)), "text"),  # type: ignore[arg-type]
}


async def _awaited(make: Callable[[], Awaitable[object]]) -> object:
    return await make()


@pytest.mark.parametrize("case", PATCHES)
async def test_a_bad_change_is_refused_alone(anywhere: Toril, case: str) -> None:
    queue = anywhere.queue("mail")
    jobs = [await queue.add("job", delay="1h") for _ in range(3)]
    change, field = PATCHES[case]

    answers = await asyncio.gather(
        jobs[0].set_priority(4), change(jobs[1]), jobs[2].set_priority(4),
        jobs[0].log("a line"), jobs[2].progress(7),
        return_exceptions=True,
    )  # fmt: skip

    assert isinstance(answers[1], ConfigError)
    assert field in str(answers[1])
    assert [answers[at] for at in (0, 2, 3, 4)] == [None, None, 1, None]
    assert [(await job.refresh()).record.priority for job in jobs] == [4, 0, 4]


async def test_a_log_line_from_an_odd_file_name_is_kept(anywhere: Toril) -> None:
    job = await anywhere.queue("mail").add("job")

    await asyncio.gather(job.log("before"), job.log(f"reading {ODD}"))

    assert (await job.logs()).lines == ("before", "reading caf\\udce9.txt")


async def test_a_job_is_looked_up_by_an_id_that_may_be_one(anywhere: Toril) -> None:
    queue = anywhere.queue("mail")
    for bad in (ODD, 42, None, b"1"):
        with pytest.raises(ConfigError, match="id"):
            await queue.job(bad)  # type: ignore[arg-type]
        with pytest.raises(ConfigError, match="id"):
            await queue.remove(bad)  # type: ignore[arg-type]


async def test_what_a_store_is_handed_unchecked_refuses_its_own_group(anywhere: Toril) -> None:
    """The store itself keeps groups apart: nothing above it may be relied on for that."""
    store = await anywhere.context.ready()
    names = ["good", ODD, "good", "good"]

    answers = await store.add([(NewJob(queue="mail", name=name),) for name in names])
    ids = [answer[0].id for answer in answers if not isinstance(answer, TorilError)]
    refs = [Ref("mail", id) for id in ids]

    assert [type(answer) for answer in answers].count(StoreRefused) == 1
    assert len(ids) == 3 == (await anywhere.queue("mail").counts()).waiting
    patches = [JobPatch(queue="mail", id=id, data='"x"') for id in ids]
    patches[1] = JobPatch(queue="mail", id=ids[1], data=ODD)
    done = await store.update(patches)
    assert [type(each) for each in done] == [type(None), StoreRefused, type(None)]
    told = [
        LogLine(queue="mail", id=id, text=text)
        for id, text in zip(ids, ["a", ODD, "b"], strict=True)
    ]
    lines = await store.log(told)
    assert isinstance(lines[1], StoreRefused)
    assert [lines[0], lines[2]] == [1, 1]
    assert [record.data for record in await store.get(refs) if record] == ['"x"', "{}", '"x"']


async def test_durable_adds_are_refused_apart(anywhere: Toril) -> None:
    store = await anywhere.context.ready()
    wish = JobOptions(durable="replica")
    names = ["good", ODD, "good"]

    answers = await store.add([(NewJob(queue="mail", name=name, options=wish),) for name in names])

    # There is no replica, nor a disk: what counts is that two of them could be stored.
    assert isinstance(answers[1], StoreRefused | ConfigError)
    assert not any(isinstance(answers[number], StoreRefused) for number in (0, 2))


async def test_a_read_that_cannot_be_made_spoils_no_other(anywhere: Toril) -> None:
    job = await anywhere.queue("mail").add("job")
    store = anywhere.context.store
    reads = Batcher[Ref, Record | None](store.get)

    answers = await asyncio.gather(
        reads.put(job.ref), reads.put(Ref("mail", ODD)), reads.put(job.ref), return_exceptions=True
    )

    assert isinstance(answers[1], StoreRefused)
    assert [getattr(answers[at], "id", None) for at in (0, 2)] == [job.id, job.id]
