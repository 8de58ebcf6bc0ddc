"""An application whose tests use the test kit."""

from collections.abc import AsyncIterator
from typing import Any

from toril import Depends, Exponential, Job, Snooze, Toril

app = Toril("redis://127.0.0.1:1/0")  # nobody listens there: a test that reached it would fail
sent: list[str] = []


async def mailer() -> AsyncIterator[list[str]]:
    yield sent


@app.task(queue="mail", attempts=3, backoff=Exponential("1s"))
async def welcome(to: str, mailer: list[str] = Depends(mailer)) -> str:  # noqa: B008
    mailer.append(to)
    return f"sent to {to}"


@app.task(queue="mail", attempts=3, backoff=Exponential("1h"))
async def flaky(job: Job[Any], fails: int) -> int:
    if job.attempt <= fails:
        raise ConnectionError(f"attempt {job.attempt}")
    return job.attempt


@app.task(queue="mail")
def later(job: Job[Any]) -> str:
    job.progress(50)
    job.log("half")
    if job.attempt == 1 and job.run == 1:
        raise Snooze("1d")
    return "done"


@app.task(queue="mail")
async def both(to: str) -> None:
    await welcome.enqueue(to)
    await welcome.using(delay="1h").enqueue(f"later {to}")


reports: list[str] = []


@app.task(queue="reports", cron="0 6 * * *", tz="UTC")
async def report() -> None:
    reports.append("report")


async def sign_up(email: str) -> str:
    job = await welcome.using(priority=2, delay="10m").enqueue(email)
    return job.id


def sign_up_sync(email: str) -> str:
    return welcome.enqueue_sync(email).id
