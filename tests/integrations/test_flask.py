"""Flask: the example over real HTTP, under a server that forks, and its command."""

from pathlib import Path

import pytest
from flask import Flask

from tests.integrations.serving import EXAMPLES, running, site
from tests.support.servers import fresh_prefix, shared_server
from toril import ConfigError, Toril
from toril.integrations.flask import FlaskToril, current_toril

FOLDER = EXAMPLES / "flask"
SERVER = (
    "gunicorn", "app:web", "--preload", "--workers", "2", "--threads", "4", "--bind",
    "127.0.0.1:{port}", "--log-level", "error",
)  # fmt: skip


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    if request.param == "redis":
        return shared_server().url, fresh_prefix()
    return f"sqlite:///{tmp_path / 'jobs.db'}", "bull"


@pytest.mark.timeout(60)
def test_the_example_serves_jobs_from_processes_that_were_forked(store: tuple[str, str]) -> None:
    worker = ("flask", "toril", "worker", "--concurrency", "2")
    with site(FOLDER, *store, *SERVER) as web, running(FOLDER, *store, *worker):
        web.until_up("/mails")
        ids: list[str] = []
        for _ in range(3):
            status, answer = web.post("/mails", b"to=ada")
            assert status == 202
            ids.append(answer["id"])
        for each in ids:
            events = web.events(f"/mails/{each}/events")
            assert events[-1] == ("completed", "sent to ada by shop@example.com")
        assert sorted(web.get("/mails")[1]["ids"]) == sorted(ids)
        assert web.get("/mails/nothing/events") == (404, {"detail": "there is no such job"})


async def test_jobs_on_the_loop_have_an_application_context_too() -> None:
    async with Toril(":memory:") as jobs:
        web = Flask("shop")
        FlaskToril(jobs, web)

        @jobs.task
        async def named() -> str:
            assert current_toril() is jobs
            return "shop"

        job = await named.enqueue()
        async with jobs.worker():
            assert await job.result(timeout=5) == "shop"


def test_a_flask_app_without_the_extension_says_what_is_missing() -> None:
    with Flask("shop").app_context(), pytest.raises(ConfigError, match="init_app"):
        current_toril()
