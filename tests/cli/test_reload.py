"""`toril dev` and `--reload`: what was changed is run."""

import sys

import pytest

from tests.support.crew import crew
from tests.support.desk import Desk
from toril import Toril

pytestmark = [
    pytest.mark.serial,
    pytest.mark.skipif(sys.platform == "win32", reason="a fleet needs POSIX"),
    pytest.mark.timeout(40),
]

APP = """
from toril import Toril
from words import WORD

app = Toril("sqlite:///jobs.db")

@app.task
async def say() -> str:
    return WORD
"""


@pytest.fixture
def written(desk: Desk) -> Desk:
    desk.write("app.py", APP)
    desk.write("words.py", "WORD = 'one'\n")
    return desk


async def said(desk: Desk) -> str:
    async with Toril(f"sqlite:///{desk.folder}/jobs.db") as app:
        job = await app.queue("default").add("say", {})
        return str(await job.result(timeout=10))


async def test_a_changed_file_is_run_anew(written: Desk) -> None:
    with crew(written, "dev", "app.py") as fleet:
        fleet.up(1)
        assert await said(written) == "one"

        written.write("words.py", "WORD = 'two'\n")
        fleet.until("changed: words.py")
        fleet.until("fleet.replaced")
        fleet.until("worker.closed")

        assert await said(written) == "two"


async def test_code_that_is_broken_is_told_and_the_old_one_goes_on(written: Desk) -> None:
    with crew(written, "dev", "app.py") as fleet:
        fleet.up(1)
        written.write("words.py", "WORD = \n")
        assert "invalid syntax" in fleet.until("error:")
        fleet.until("fleet.not_replaced")
        assert await said(written) == "one"

        written.write("words.py", "WORD = 'three'\n")
        fleet.until("fleet.replaced")
        fleet.until("worker.closed")

        assert await said(written) == "three"


async def test_code_that_is_broken_from_the_start_is_waited_for(written: Desk) -> None:
    written.write("words.py", "WORD = \n")
    with crew(written, "dev", "app.py") as fleet:
        fleet.until("waiting for a file to change")
        written.write("words.py", "WORD = 'four'\n")
        fleet.up(1)

        assert await said(written) == "four"


async def test_what_becomes_of_jobs_is_told_for_a_person_to_read(written: Desk) -> None:
    with crew(written, "dev", "app.py") as fleet:
        fleet.up(1)
        await said(written)

        assert "say default:1" in fleet.until("✓")
        assert [line for line in fleet.lines if "\x1b" in line] == []
