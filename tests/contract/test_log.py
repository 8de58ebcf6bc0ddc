"""log and logs: lines of a job, bounded, in pages."""

from tests.support.kit import QUEUE, Kit
from toril._model.record import Ref
from toril._model.report import Logs
from toril._model.states import State
from toril._store.values import LogLine
from toril.errors import JobNotFound, LockLost


async def write(kit: Kit, ref: Ref, *texts: str, keep: int | None = None) -> list[object]:
    lines = [LogLine(queue=ref.queue, id=ref.id, text=text, keep=keep) for text in texts]
    return list(await kit.store.log(lines, now=kit.now))


async def test_lines_are_kept_in_order(kit: Kit) -> None:
    ref = await kit.add()

    assert await write(kit, ref, "one", "two") == [1, 2]
    assert await write(kit, ref, "three\nlines, ünïcode") == [3]

    assert await kit.store.logs(ref) == Logs(lines=("one", "two", "three\nlines, ünïcode"), total=3)


async def test_a_log_may_be_bounded_to_its_newest_lines(kit: Kit) -> None:
    ref = await kit.add()

    assert await write(kit, ref, "one", "two", "three", keep=2) == [1, 2, 2]

    assert await kit.store.logs(ref) == Logs(lines=("two", "three"), total=2)


async def test_the_jobs_own_bound_holds(kit: Kit) -> None:
    ref = await kit.add(keep_logs=1)

    await write(kit, ref, "one", "two", keep=(await kit.record(ref)).options.keep_logs)

    assert (await kit.store.logs(ref)).lines == ("two",)


async def test_logs_come_in_pages(kit: Kit) -> None:
    ref = await kit.add()
    await write(kit, ref, *"abcde")

    assert await kit.store.logs(ref, offset=1, limit=2) == Logs(lines=("b", "c"), total=5)
    assert await kit.store.logs(ref, offset=4, limit=2) == Logs(lines=("e",), total=5)
    assert await kit.store.logs(ref, offset=9, limit=2) == Logs(total=5)


async def test_logs_are_read_backwards(kit: Kit) -> None:
    ref = await kit.add()
    await write(kit, ref, *"abc")

    assert await kit.store.logs(ref, limit=2, newest_first=True) == Logs(lines=("c", "b"), total=3)


async def test_a_job_without_a_log_has_none(kit: Kit) -> None:
    assert await kit.store.logs(await kit.add()) == Logs()


async def test_each_job_has_its_own_log(kit: Kit) -> None:
    one, two = await kit.add_many(2)
    await write(kit, one, "one")

    assert await kit.store.logs(two) == Logs()


async def test_a_log_outlives_the_run(kit: Kit) -> None:
    ref = await kit.add()
    await write(kit, ref, "one")
    await kit.run()

    assert (await kit.store.logs(ref)).lines == ("one",)


async def test_a_removed_job_takes_its_log_along(kit: Kit) -> None:
    ref = await kit.add(id="mine")
    await write(kit, ref, "one")
    await kit.remove(ref)
    await kit.add(id="mine")

    assert await kit.store.logs(ref) == Logs()


async def test_a_job_that_is_not_there_cannot_be_logged_for(kit: Kit) -> None:
    [error] = await write(kit, Ref(QUEUE, "nowhere"), "one")

    assert isinstance(error, JobNotFound)


async def test_a_stale_token_writes_nothing(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE)
    token = kit.held[ref].token
    lines = [
        LogLine(queue=QUEUE, id=ref.id, text="mine", token=token),
        LogLine(queue=QUEUE, id=ref.id, text="late", token="stale"),
    ]

    first, second = await kit.store.log(lines, now=kit.now)

    assert first == 1
    assert isinstance(second, LockLost)
    assert (await kit.store.logs(ref)).lines == ("mine",)
