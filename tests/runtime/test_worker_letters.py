"""What a worker says of jobs that failed for good and left a dead letter."""

from pathlib import Path
from typing import Any

import pytest

from toril import Job, Toril


async def refuse(job: Job[Any]) -> None:
    raise ValueError("no")


def lettered(caplog: pytest.LogCaptureFixture) -> list[tuple[str, str]]:
    """List the jobs that were said to have left a dead letter, and where it is."""
    return [
        (vars(line)["job_id"], vars(line)["letters"])
        for line in caplog.records
        if line.getMessage().startswith("job.dead_lettered")
    ]


async def test_a_final_failure_that_left_a_letter_is_said_once(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    app.queue("q", attempts=2, dead_letter="dead")

    await app.queue("q").add("x")
    await app.worker("q", refuse).run_until_idle()

    assert lettered(caplog) == [("1", "dead")]


async def test_it_is_said_by_a_worker_of_another_process_than_the_one_that_configured_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    url = f"sqlite:///{tmp_path / 'shared.db'}"
    async with Toril(url) as app, Toril(url) as other:
        await app.queue("q", dead_letter="dead").add("x")
        await other.worker("q", refuse).run_until_idle()

    assert lettered(caplog) == [("1", "dead")]


async def test_a_final_failure_that_left_none_is_not(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    app.queue("q", dead_letter=None)

    await app.queue("q").add("x")
    await app.worker("q", refuse).run_until_idle()

    assert lettered(caplog) == []


async def test_a_letter_that_would_go_in_a_circle_is_not_sent(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    app.queue("q", dead_letter="dead")
    app.queue("dead", dead_letter="q")

    await app.queue("q").add("x")
    await app.worker(["q", "dead"], refuse).run_until_idle()

    assert lettered(caplog) == [("1", "dead")]
    assert (await app.queue("q").counts()).waiting == 0


async def test_each_of_many_that_fail_together_is_said(
    app: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    await app.queue("q", dead_letter="dead").add_many([("x", n) for n in range(20)])

    await app.worker("q", refuse, concurrency=20).run_until_idle()

    assert sorted(lettered(caplog)) == sorted((str(n + 1), "dead") for n in range(20))
