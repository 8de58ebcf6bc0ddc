"""Fields of the job in log lines: logging, and structlog."""

import asyncio
import logging
from collections.abc import Iterator
from io import StringIO

import pytest
import structlog

from tests.integrations import logging_child
from toril import Toril
from toril.integrations.logs import JobFilter, JobLogHandler, add_job

FORMAT = "%(message)s %(job_id)s %(queue)s %(job_name)s %(attempt)s"


@pytest.fixture
def written() -> Iterator[StringIO]:
    stream = StringIO()
    handler = logging.StreamHandler(stream)
    handler.addFilter(JobFilter())
    handler.setFormatter(logging.Formatter(FORMAT))
    log = logging.getLogger("shop")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield stream
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


async def test_each_line_has_the_fields_of_its_job(written: StringIO) -> None:
    log = logging.getLogger("shop")
    async with Toril(":memory:") as app:

        @app.task(queue="a", attempts=2, backoff=0)
        async def on_the_loop() -> None:
            log.info("loop")
            if "loop 1 a on_the_loop 2" not in written.getvalue():
                raise ValueError("once more")

        @app.task(queue="b")
        def in_a_thread() -> None:
            log.info("thread")

        log.info("before")
        await on_the_loop.enqueue()
        await in_a_thread.enqueue()
        await app.worker().run_until_idle()
    log.info("own", extra={"job_id": "mine"})

    assert sorted(written.getvalue().splitlines()) == [
        "before - - - -",
        "loop 1 a on_the_loop 1",
        "loop 1 a on_the_loop 2",
        "own mine - - -",
        "thread 1 b in_a_thread 1",
    ]


async def test_lines_of_a_child_process_have_them_too() -> None:
    async with Toril(":memory:") as app:
        task = app.task(queue="c", isolation="process")(logging_child.write)
        job = await task.enqueue()
        async with app.worker():
            assert await job.result(timeout=15) == f"hello {job.id} c write 1"


async def test_structlog_events_have_the_fields(capsys: pytest.CaptureFixture[str]) -> None:
    seen: list[object] = []

    def keep(_: object, __: str, event: structlog.typing.EventDict) -> str:
        seen.append(dict(event))
        raise structlog.DropEvent

    log = structlog.wrap_logger(structlog.PrintLogger(), processors=[add_job, keep])
    async with Toril(":memory:") as app:

        @app.task
        async def work() -> None:
            log.info("working", queue="mine")

        await work.enqueue()
        log.info("outside")
        await app.worker().run_until_idle()
    assert seen == [
        {"event": "outside"},
        {"event": "working", "job_id": "1", "queue": "mine", "job_name": "work", "attempt": 1},
    ]


@pytest.fixture
def to_jobs() -> Iterator[JobLogHandler]:
    handler = JobLogHandler()
    log = logging.getLogger("shop")
    log.addHandler(handler)
    log.setLevel(logging.INFO)
    yield handler
    log.removeHandler(handler)
    log.setLevel(logging.NOTSET)


async def test_lines_go_to_the_log_of_their_job(to_jobs: JobLogHandler) -> None:
    to_jobs.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    log = logging.getLogger("shop")
    async with Toril(":memory:") as app:

        @app.task
        async def on_the_loop(number: int) -> None:
            log.info("number %d", number)
            await asyncio.sleep(0)
            log.warning("done")

        @app.task
        def in_a_thread() -> None:
            log.info("thread")
            logging.getLogger("toril.shop").error("ours")

        one, two = await on_the_loop.enqueue(1), await on_the_loop.enqueue(2)
        three = await in_a_thread.enqueue()
        four = await app.task(isolation="process")(logging_child.write_to_its_log).enqueue()
        log.info("outside")
        async with app.worker() as worker:
            await worker.drained()
        lines = [(await job.logs()).lines for job in (one, two, three, four)]
    assert [list(each) for each in lines] == [
        ["INFO number 1", "WARNING done"],
        ["INFO number 2", "WARNING done"],
        ["INFO thread"],
        ["line 1", "line 2"],
    ]


async def test_a_line_that_cannot_be_formatted_harms_no_job(
    to_jobs: JobLogHandler, capsys: pytest.CaptureFixture[str]
) -> None:
    to_jobs.setFormatter(logging.Formatter("%(nothing)s"))
    async with Toril(":memory:") as app:

        @app.task
        async def work() -> str:
            logging.getLogger("shop").info("a line")
            return "fine"

        job = await work.enqueue()
        async with app.worker():
            assert await job.result(timeout=5) == "fine"
    assert "Logging error" in capsys.readouterr().err
