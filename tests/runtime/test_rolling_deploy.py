"""Old and new code at once: a job with an argument too many or too few waits for its worker."""

import logging
from pathlib import Path
from typing import Any

import pydantic
import pytest

from tests.runtime import isolated
from tests.support.workers import Heard
from toril import Job, JobFailed, Toril


class Order(pydantic.BaseModel):
    count: int


def declare(app: Toril, how: str) -> None:
    """Declare the task "work" with one argument that is needed, and one that is not."""
    if how == "loop":

        @app.task(name="work", attempts=1)
        async def on_a_loop(a: int, b: int = 1) -> list[int]:
            return [a, b]

    elif how == "thread":

        @app.task(name="work", attempts=1)
        def in_a_thread(a: int, /, b: int = 1) -> list[int]:
            return [a, b]

    else:
        app.task(name="work", attempts=1, isolation="process")(isolated.add)


@pytest.mark.parametrize("how", ["loop", "thread", "process"])
@pytest.mark.parametrize(
    "data",
    [{}, {"a": 1, "first": 1, "extra": 1}],
    ids=["missing", "unexpected"],
)
async def test_a_job_whose_arguments_do_not_fit_waits_for_a_worker_that_takes_them(
    anywhere: Toril, how: str, data: dict[str, int], caplog: pytest.LogCaptureFixture
) -> None:
    declare(anywhere, how)
    if how == "process":
        data.pop("a", None)
    else:
        data.pop("first", None)
    job = await anywhere.queue("default").add("work", data)
    worker = anywhere.worker()
    heard = Heard(worker, "error", "failed", "attempt_failed")
    with caplog.at_level(logging.WARNING):
        await worker.run_until_idle()

    await job.refresh()
    assert (job.record.state, job.attempts_made, job.record.unknown) == ("delayed", 0, 1)
    assert heard.names == ["error"]
    (line,) = [each for each in caplog.records if each.message.startswith("job.arguments_unfit")]
    assert "work" in line.message
    assert ("missing" if not data else "extra") in line.message


@pytest.mark.parametrize("how", ["loop", "process"])
async def test_it_fails_after_as_long_as_an_unknown_name(anywhere: Toril, how: str) -> None:
    declare(anywhere, how)
    job = await anywhere.queue("default").add("work", {})
    await anywhere.worker(unknown_limit=0).run_until_idle()

    with pytest.raises(JobFailed, match="missing required field") as failed:
        await job.result(timeout=5)
    assert failed.value.end == "unknown-name"


@pytest.mark.parametrize("how", ["loop", "thread", "process"])
async def test_an_argument_of_another_type_fails_at_once(anywhere: Toril, how: str) -> None:
    declare(anywhere, how)
    name = "first" if how == "process" else "a"
    job = await anywhere.queue("default").add("work", {name: "x"}, attempts=3)
    await anywhere.worker().run_until_idle()

    await job.refresh()
    assert (job.record.state, job.attempts_made) == ("failed", 1)
    assert "expected int, got str" in (job.error or "")


@pytest.fixture(params=["file", "redis"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> dict[str, Any]:
    if request.param == "file":
        return {"url": f"sqlite:///{tmp_path / 'jobs.db'}"}
    return {
        "url": request.getfixturevalue("redis_url"),
        "prefix": request.getfixturevalue("redis_prefix"),
    }


@pytest.mark.parametrize("more", [True, False], ids=["one more", "one fewer"])
async def test_old_and_new_workers_share_a_queue(place: dict[str, Any], more: bool) -> None:
    async with Toril(**place) as short, Toril(**place) as long:

        @short.task(name="work")
        async def work_short(a: int) -> list[int]:
            return [a]

        @long.task(name="work")
        async def work_long(a: int, b: int) -> list[int]:
            return [a, b]

        old, new = (short, long) if more else (long, short)
        job: Job[list[int]] = await (work_long.enqueue(1, 2) if more else work_short.enqueue(1))
        await old.worker().run_until_idle()
        assert await job.state() == "delayed"

        await job.promote()
        await new.worker().run_until_idle()
        assert await job.result(timeout=5) == ([1, 2] if more else [1])
        assert (await job.refresh()).record.attempts_made == 1


@pytest.mark.parametrize(
    ("data", "state"),
    [
        ({"order": {}}, "delayed"),
        ({"order": {"count": "many"}}, "failed"),
        ({"order": {"count": 1}}, "completed"),
        ({"order": None, "extra": 1}, "delayed"),
        ([1], "failed"),
    ],
    ids=["missing", "type", "fits", "extra", "array"],
)
async def test_a_field_that_a_model_lacks_is_an_argument_that_is_missing(
    anywhere: Toril, data: object, state: str
) -> None:
    @anywhere.task(name="work")
    async def work(order: Order) -> None: ...

    job = await anywhere.queue("default").add("work", data)
    await anywhere.worker().run_until_idle()

    assert await job.state() == state
