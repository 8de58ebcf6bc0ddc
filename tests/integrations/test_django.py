"""Django: the example over real HTTP, and tests that Django runs, which has one project a process."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integrations.serving import EXAMPLES, Site, running, site
from tests.support.crew import wait_for
from tests.support.servers import fresh_prefix, shared_server

ROOT = Path(__file__).parents[2]
FOLDER = EXAMPLES / "django"
SERVER = ("uvicorn", "shop.asgi:application", "--port", "{port}", "--log-level", "error")


@pytest.fixture(params=["sqlite", "redis"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    if request.param == "redis":
        return shared_server().url, fresh_prefix()
    return f"sqlite:///{tmp_path / 'jobs.db'}", "bull"


@pytest.fixture
def database(tmp_path: Path) -> dict[str, str]:
    found = {"SHOP_DB": str(tmp_path / "shop.sqlite3"), "DJANGO_SETTINGS_MODULE": "shop.settings"}
    manage("migrate", **found)
    return found


def manage(*words: str, **settings: str) -> str:
    ended = subprocess.run(
        [sys.executable, "manage.py", *words],
        cwd=FOLDER,
        env={**os.environ, **settings},
        capture_output=True,
        text=True,
        check=True,
    )
    return ended.stdout


@pytest.mark.timeout(60)
@pytest.mark.parametrize("inside", [True, False], ids=["in the web process", "beside it"])
def test_the_example_serves_tasks_and_jobs(
    store: tuple[str, str], database: dict[str, str], inside: bool
) -> None:
    with site(FOLDER, *store, *SERVER, RUN_WORKER=str(int(inside)), **database) as web:
        web.until_up("/reports/0")
        if inside:
            check(web)
        else:
            worker = ("django", "toril", "worker", "--concurrency", "2")
            with running(FOLDER, *store, *worker, **database):
                check(web)
    url, prefix = store
    queues = manage("toril", "queues", TORIL_URL=url, TORIL_PREFIX=prefix, **database)
    assert {"mails", "reports"} <= set(queues.split())


def check(web: Site) -> None:
    _, mail = web.post("/users", b"name=ada")
    _, report = web.post("/reports", b"pages=4")
    wait_for(lambda: web.get(f"/mails/{mail['id']}")[1]["status"] == "SUCCESSFUL", "the mail")
    assert web.get(f"/mails/{mail['id']}")[1]["value"] == "sent to ada@example.com"
    done = {"state": "completed", "progress": 100}
    wait_for(lambda: web.get(f"/reports/{report['id']}")[1] == done, "the report")
    assert web.get("/reports/nothing") == (404, {"detail": "there is no such job"})


def test_what_django_runs_passes() -> None:
    """The backend, the settings, the connections, and the pages with the admin's permissions."""
    ended = subprocess.run(
        [sys.executable, "-m", "django", "test", "tests.integrations.django_site"],
        cwd=ROOT,
        env={
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "DJANGO_SETTINGS_MODULE": "tests.integrations.django_site.settings",
        },
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    found = re.search(r"Ran (\d+) tests", ended.stderr)
    assert found is not None
    assert int(found[1]) >= 15


def test_a_job_in_a_child_process_has_django(tmp_path: Path, database: dict[str, str]) -> None:
    code = """
from django.core.management import call_command
import os
os.environ["DJANGO_SETTINGS_MODULE"] = "shop.settings"
import django
django.setup()
from shop.tasks import count_alone
from toril.integrations.django import get_toril, jobs
jobs.import_tasks()
from toril import sync
job = count_alone.enqueue_sync()
sync.run(get_toril().worker().run_until_idle())
print(sync.run(job.result(timeout=1)))
"""
    ended = subprocess.run(
        [sys.executable, "-c", code],
        cwd=FOLDER,
        env={**os.environ, **database, "TORIL_URL": f"sqlite:///{tmp_path / 'jobs.db'}"},
        capture_output=True,
        text=True,
        check=False,
    )

    assert ended.stdout == "0 users\n", ended.stderr
