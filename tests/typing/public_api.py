"""What type checkers make of the public API; both of them read this file, nobody runs it.

A line that ends in `type: ignore` must be an error: a checker that finds none there complains.
"""

from collections.abc import AsyncIterator, Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from typing import Any, assert_type

from toril import Depends, Exponential, Job, Keep, Node, State, Toril, handles, hooks
from toril._app.flow import Tree
from toril.events import Event

app = Toril(attempts=3, backoff=Exponential("1s"))


@app.task
async def shrink(path: str, size: int = 256) -> bytes:
    return path.encode()


@app.task(queue="images", attempts=4, timeout="30s", keep_completed=Keep(count=5))
def thumbnail(path: str, size: int = 256) -> str:
    return path


@app.task(queue="images")
async def with_job(job: Job[object], number: int) -> list[int]:
    return [number]


@app.task
def anything(value: Any, times: int = 1) -> int:
    return times


@app.task
def none() -> None: ...


async def elsewhere(number: int) -> str:
    return str(number)


async def options_may_be_given_with_the_function() -> None:
    assert_type(await app.task(elsewhere, queue="images").enqueue(1), Job[str])
    app.task(elsewhere, countdown=10)  # type: ignore[call-overload]


async def arguments_are_those_of_the_function() -> None:
    assert_type(await shrink.enqueue("cat.jpg", size=128), Job[bytes])
    assert_type(thumbnail.enqueue_sync("cat.jpg"), Job[str])
    assert_type(await none.enqueue(), Job[None])
    await shrink.enqueue(1)  # type: ignore[arg-type]
    await shrink.enqueue("cat.jpg", size="big")  # type: ignore[arg-type]
    await shrink.enqueue()  # type: ignore[call-arg]
    await thumbnail.enqueue("cat.jpg", siz=1)  # type: ignore[call-arg]
    thumbnail.enqueue_sync("cat.jpg", 1, 2)  # type: ignore[call-arg]


async def a_direct_call_is_the_function() -> None:
    assert_type(await shrink("cat.jpg"), bytes)
    assert_type(thumbnail("cat.jpg"), str)
    thumbnail(1)  # type: ignore[arg-type]


async def the_job_is_left_out_by_callers(job: Job[Any]) -> None:
    assert_type(await with_job.enqueue(1), Job[list[int]])
    assert_type(await with_job(job, 1), list[int])
    await with_job.enqueue(job, 1)  # type: ignore[call-arg, arg-type]


async def what_takes_anything_takes_it_first() -> None:
    await anything.enqueue({"a": 1}, times=2)
    assert_type((await anything.enqueue(1)).id, str)


async def options_are_known() -> None:
    bound = thumbnail.using(delay="5s", priority=1, id="x", attempts=2)
    assert_type(await bound.enqueue("cat.jpg"), Job[str])
    thumbnail.using(priorty=1)  # type: ignore[call-arg]
    thumbnail.using(priority="high")  # type: ignore[arg-type]
    bound.node("cat.jpg", size="big")  # type: ignore[arg-type]
    assert_type(bound.node("cat.jpg"), Node)


async def a_job_knows_its_result(job: Job[int]) -> None:
    assert_type(await job.result(timeout="5s"), int)
    assert_type(await job.result(timeout=5), int)
    assert_type(await job.state(), State)
    assert_type(await job.progress({"done": 1}), None)
    assert_type(await job.log("text"), int)
    assert_type(job.started_at, datetime | None)


async def queues_take_names_data_and_options() -> None:
    emails = app.queue("emails", attempts=3, rate="10/1s", dead_letter="dead")
    assert_type(await emails.add("welcome", {"to": "a"}, delay="5s", id="x1"), Job[Any])
    assert_type(await emails.add_many([("a", 1), ("b", {}, {"priority": 1})]), list[Job[Any]])
    await emails.add("welcome", {}, delya=1)  # type: ignore[call-arg]
    await emails.add("welcome", {}, durable="replica")
    await emails.add("welcome", {}, durable="disk")  # type: ignore[arg-type]
    app.queue("emails", atempts=3)  # type: ignore[call-arg]

    @emails.handler("welcome", concurrency=3, timeout="5s")
    async def deliver(job: Job[Any]) -> str:
        return job.name

    async for event in emails.events():
        assert_type(event, Event)
    async for job in emails.jobs("failed", limit=5):
        assert_type(job, Job[Any])


async def flows_take_nodes_and_tuples() -> None:
    children: Sequence[Node] = [thumbnail.node("cat.jpg")]
    flow = app.flow("image:upload", "upload", {"id": 7}, children=children, priority=1)
    assert_type(await flow.add(), Tree)
    app.flow("image:upload", "upload", children=[("q1", "n1", {}, {"delay": 1})])
    app.flow("image:upload", "upload", children=[3])  # type: ignore[list-item]


def schedules_take_rules_and_jobs() -> None:
    app.schedule("nightly", cron="0 2 * * *", tz="UTC", task=thumbnail, args=("cat.jpg",))
    app.schedule("tick", every="5m", queue="clock", name="tick", priority=1)
    app.schedule("tick", evry="5m")  # type: ignore[call-arg]


@app.task
async def with_a_bare_job(job: Job, number: int) -> list[int]:
    return [number]


@app.task
def with_a_bare_job_in_a_thread(job: Job, number: int) -> str:
    return "x"


async def a_bare_job_is_left_out_too(one: Job[int]) -> None:
    assert_type(await with_a_bare_job.enqueue(1), Job[list[int]])
    await with_a_bare_job.enqueue("1")  # type: ignore[arg-type]
    await with_a_bare_job.enqueue()  # type: ignore[call-arg]
    assert_type(with_a_bare_job_in_a_thread.enqueue_sync(1), Job[str])
    await with_a_bare_job(one, 1)


async def words_of_other_systems_are_unknown() -> None:
    thumbnail.delay("cat.jpg")  # type: ignore[attr-defined]
    thumbnail.using(countdown=5)  # type: ignore[call-arg]


async def events_and_states_are_known() -> None:
    worker = app.worker(concurrency=5)

    @worker.on("completed")
    def note(job: Job, result: object) -> None: ...

    worker.on("complted")  # type: ignore[call-overload]
    app.on("added", queue="emails")(note)

    @app.on(hooks.JobCompleted)
    def measure(record: hooks.JobCompleted) -> float:
        return record.seconds

    app.on(hooks.JobCompleted)(lambda record: record.secnds)  # type: ignore[attr-defined]
    app.on("complted")  # type: ignore[call-overload]

    @app.lifespan
    async def pool(app: Toril) -> AsyncIterator[int]:
        yield 1

    @app.middleware(queue="emails")
    def around(job: Job) -> Iterator[None]:
        yield

    @app.lifespan  # type: ignore[type-var]
    async def ordinary() -> int:
        return 1

    @app.before_enqueue
    def sign(draft: hooks.JobDraft) -> None:
        draft.headers["n"] = 1  # type: ignore[assignment]

    await app.queue("emails").add("x", headers={"tenant": "acme"})
    await app.queue("emails").add("x", headers={"n": 1})  # type: ignore[dict-item]
    worker.off("closd", note)  # type: ignore[arg-type]
    queue = app.queue("emails")
    queue.jobs("faild")  # type: ignore[arg-type]
    queue.jobs(["waiting", State.DELAYED, "ready"])
    await queue.clean("complete")  # type: ignore[arg-type]
    await queue.retry_all("faild")  # type: ignore[arg-type]
    await queue.metrics("done")  # type: ignore[arg-type]


class Cards: ...


async def open_cards() -> Cards:
    return Cards()


async def lent_cards() -> AsyncIterator[Cards]:
    yield Cards()


def shown_cards() -> Iterator[Cards]:
    yield Cards()


@contextmanager
def managed_cards() -> Generator[Cards]:
    yield Cards()


@app.task
async def deal(
    count: int,
    a: Cards = Depends(open_cards),  # noqa: B008  # it is read, not called
    b: Cards = Depends(lent_cards),  # noqa: B008  # it is read, not called
    c: Cards = Depends(shown_cards, scope="worker"),  # noqa: B008  # it is read, not called
    d: Cards = Depends(managed_cards),  # noqa: B008  # it is read, not called
    e: Cards = Depends(Cards, scope="job"),  # noqa: B008  # it is read, not called
    f: int = Depends(open_cards),  # type: ignore[assignment]
) -> int:
    return count


assert_type(Depends(open_cards), Cards)
assert_type(Depends(lent_cards), Cards)
Depends(open_cards, scope="request")  # type: ignore[call-overload]


async def dependencies_may_be_left_out() -> None:
    assert_type(await deal.enqueue(3), Job[int])


def connect() -> Cards:
    return Cards()


@app.processor("image:optimize", concurrency=2)
class Images:
    def __init__(self, cards: Cards, other: Cards = Depends(connect)) -> None:  # noqa: B008  # it is read, not called
        self.cards = cards

    @handles("optimize-size", timeout="5s")
    async def optimize(self, job: Job[Any]) -> str:
        return job.name


app.provide(Cards, connect)
app.provide(Cards, Cards())
assert_type(Images(Cards()), Images)


@app.task(isolation="process", init="app.boot:make", max_rss="1GB", recycle_after=100)
def render(path: str) -> bytes:
    return path.encode()


@app.task(isolation="thread")  # type: ignore[call-overload, untyped-decorator]
def nowhere() -> None: ...


async def isolated_tasks_are_typed_as_others_are() -> None:
    assert_type(await render.enqueue("cat.jpg"), Job[bytes])
    app.processor("image:optimize", "app.images:optimize", name="small", max_rss=200_000_000)
    app.processor("image:optimize", "app.images:optimize", max_mem=1)  # type: ignore[call-overload]
    app.worker("image:optimize", "app.images:optimize", processes=2)
