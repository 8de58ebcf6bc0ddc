"""FastAPI: the example over real HTTP, and what handlers take from it."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Annotated, Any

import pytest
from fastapi import Depends, FastAPI
from fastapi.security import HTTPBasic

from tests.integrations.serving import EXAMPLES, running, site
from tests.support.servers import fresh_prefix, shared_server
from toril import ConfigError, Job, Toril
from toril.integrations.fastapi import lifespan, stream_job
from toril.integrations.sse import job_messages

FOLDER = EXAMPLES / "fastapi"
SERVER = ("uvicorn", "app:web", "--port", "{port}", "--log-level", "error")


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    if request.param == "redis":
        return shared_server().url, fresh_prefix()
    return f"sqlite:///{tmp_path / 'jobs.db'}", "bull"


@pytest.mark.timeout(60)
@pytest.mark.parametrize("inside", [True, False], ids=["in the web process", "beside it"])
def test_the_example_serves_jobs_and_their_progress(store: tuple[str, str], inside: bool) -> None:
    with site(FOLDER, *store, *SERVER, RUN_WORKER=str(int(inside))) as web:
        web.until_up("/reports/0")
        if inside:
            check(web)
        else:
            with running(FOLDER, *store, "toril", "worker", "app.py"):
                check(web)


def check(web: Any) -> None:
    status, answer = web.post("/reports?pages=3")
    assert status == 202
    events = web.events(f"/reports/{answer['id']}/events")
    assert events[-1] == ("completed", "saved 3 pages")
    assert web.get(f"/reports/{answer['id']}") == (200, {"state": "completed"})
    assert web.get("/reports/nothing/events") == (404, {"detail": "there is no such job"})
    assert web.post("/reports?pages=many")[0] == 422


async def session() -> AsyncIterator[list[str]]:
    made.append("open")
    yield ["real"]
    made.append("close")


def inner(session: Annotated[list[str], Depends(session)]) -> str:
    return session[0]


made: list[str] = []


@pytest.fixture
async def jobs() -> AsyncIterator[Toril]:
    made.clear()
    async with Toril(":memory:") as app:
        yield app


async def test_handlers_take_dependencies_of_fastapi_once_per_attempt(jobs: Toril) -> None:
    @jobs.task
    async def task(
        number: int,
        session: Annotated[list[str], Depends(session)],
        name: str = Depends(inner),
    ) -> str:
        return f"{number} {session[0]} {name} {made}"

    for number in (1, 2):
        job = await task.enqueue(number)  # type: ignore[call-arg]
        await jobs.worker().run_until_idle()
        opened = ["open", "close"] * (number - 1) + ["open"]
        assert await job.result() == f"{number} real real {opened}"
    assert made == ["open", "close"] * 2


async def test_overrides_of_the_web_app_hold_for_jobs(jobs: Toril) -> None:
    web = FastAPI(lifespan=lifespan(jobs, worker=True))
    web.dependency_overrides[session] = lambda: ["fake"]

    @jobs.task
    async def task(name: Annotated[str, Depends(inner)]) -> str:
        return name

    async with web.router.lifespan_context(web):
        job = await task.enqueue()  # type: ignore[call-arg]
        assert await job.result(timeout=5) == "fake"
    assert made == []


async def test_a_dependency_that_needs_a_request_is_refused_by_name(jobs: Toril) -> None:
    @jobs.task
    async def task(user: Annotated[object, Depends(HTTPBasic())]) -> None: ...

    with pytest.raises(ConfigError, match="nothing provides parameter 'request'"):
        await jobs.worker().start()


async def test_an_own_lifespan_runs_within(jobs: Toril) -> None:
    from contextlib import asynccontextmanager

    @asynccontextmanager
    async def own(web: FastAPI) -> AsyncIterator[dict[str, int]]:
        made.append("own")
        yield {"n": 1}
        made.append("end")

    web = FastAPI(lifespan=lifespan(jobs, inner=own))
    async with web.router.lifespan_context(web) as state:
        assert (state, web.state.toril) == ({"n": 1}, jobs)
    assert made == ["own", "end"]


# Events.


async def test_a_stream_tells_progress_as_it_happens_and_the_end(jobs: Toril) -> None:
    gate = asyncio.Event()

    async def work(job: Job[Any]) -> str:
        await job.progress(1)
        await gate.wait()
        await job.progress({"page": 2})
        if job.name == "bad":
            raise ValueError("no paper")
        return "done"

    ends = {"good": ("completed", '"done"'), "bad": ("failed", '"no paper"')}
    async with jobs.worker("q", work):
        for name, (kind, data) in ends.items():
            gate.clear()
            job = await jobs.queue("q").add(name)
            stream = job_messages(job, heartbeat=0.05)
            parts = [await anext(stream) for _ in range(2)]
            gate.set()
            parts += [part async for part in stream]

            told = [part for part in parts if not part.startswith(":")]
            assert told == [
                "event: progress\ndata: 1\n\n",
                'event: progress\ndata: {"page": 2}\n\n',
                f"event: {kind}\ndata: {data}\n\n",
            ]
            assert [part async for part in job_messages(job)] == told[1:]


async def test_a_stream_of_a_job_that_is_gone_ends(jobs: Toril) -> None:
    job = await jobs.queue("q").add("x")
    await job.remove()

    assert [part async for part in job_messages(job)] == ["event: removed\ndata: null\n\n"]
    assert stream_job(job).media_type == "text/event-stream"
