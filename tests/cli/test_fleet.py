"""`toril worker --processes`: one supervisor, and what becomes of its processes."""

import os
import signal
import sys

import pytest

from tests.support.crew import crew, die, wait_for
from tests.support.desk import Desk
from tests.support.processes import lives
from toril import Toril
from toril._serve.supervisor import LONGEST_PAUSE_S, _pause_after

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="a fleet needs POSIX")

APP = """
import asyncio
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task
async def slow(seconds: float) -> None:
    print("started", flush=True)
    await asyncio.sleep(seconds)
    print("ended", flush=True)
"""


@pytest.fixture(autouse=True)
def app(desk: Desk) -> None:
    desk.write("app.py", APP)


async def state_of(desk: Desk, job_id: str) -> tuple[str, int]:
    async with Toril(f"sqlite:///{desk.folder}/jobs.db") as app:
        job = await app.queue("default").job(job_id)
        assert job is not None
        return str(await job.state()), job.record.attempts_made


async def add_slow(desk: Desk, seconds: float) -> str:
    async with Toril(f"sqlite:///{desk.folder}/jobs.db") as app:
        job = await app.queue("default").add("slow", {"seconds": seconds})
        return job.id


def test_it_says_once_what_its_processes_serve(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--processes", "3", "--concurrency", "4") as fleet:
        fleet.up(3)
        said = [line for line in fleet.lines if "worker.ready" not in line]

    assert said[0].startswith("toril ")
    assert said[0].endswith(" · 3 processes")
    assert said[1:] == [
        f"store: sqlite:///{desk.folder / 'jobs.db'}",
        "queue: default, 4 at once",
        "  slow  →  app.slow",
        "Ctrl-C or SIGTERM stops it; what runs then has 25 s to end.",
    ]


def test_it_warns_once_of_what_the_app_does_and_says(desk: Desk) -> None:
    text = APP.replace('"sqlite:///jobs.db"', '"sqlite:///jobs.db", prefix="mine"')
    first = 'import os\nos.environ["TORIL_PREFIX"] = "other"\n'
    desk.write("app.py", f"{first}{text}\nslow.enqueue_sync(0.0)\n")
    with crew(desk, "worker", "app.py", "--processes", "3") as fleet:
        fleet.up(3)

    assert len(fleet.said("app.side_effect")) == 1
    assert len(fleet.said("settings.overruled")) == 1


def test_each_process_has_a_name_of_its_own(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2", "--name", "ada") as fleet:
        fleet.until("worker='ada-1-")
        fleet.until("worker='ada-2-")


def test_sigterm_ends_all_of_them_with_0(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        pids = fleet.up(2)
        fleet.signal(signal.SIGTERM)

        assert fleet.end() == 0
    assert [pid for pid in pids if lives(pid)] == []


async def test_a_running_job_may_end_after_sigterm(desk: Desk) -> None:
    await add_slow(desk, 0.5)
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.until("started")
        fleet.up(2)
        fleet.signal(signal.SIGTERM)

        assert fleet.end() == 0
    assert fleet.said("ended") == ["ended"]


async def test_a_job_that_outlasts_its_grace_is_put_back_and_the_code_is_1(desk: Desk) -> None:
    job_id = await add_slow(desk, 60)
    with crew(desk, "worker", "app.py", "--processes", "2", "--grace", "100ms") as fleet:
        fleet.until("started")
        fleet.up(2)
        fleet.signal(signal.SIGTERM)

        assert fleet.end() == 1
    assert await state_of(desk, job_id) == ("waiting", 0)


async def test_a_second_signal_puts_back_at_once(desk: Desk) -> None:
    job_id = await add_slow(desk, 60)
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.until("started")
        fleet.up(2)
        fleet.signal(signal.SIGINT)
        fleet.until("worker.closing", times=2)
        fleet.signal(signal.SIGTERM)

        assert fleet.end(8) == 1
    assert await state_of(desk, job_id) == ("waiting", 0)


async def test_processes_end_with_their_supervisor_and_put_back_what_they_have(desk: Desk) -> None:
    job_id = await add_slow(desk, 60)
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        fleet.until("started")
        pids = fleet.up(2)
        die(fleet.process.pid)
        wait_for(lambda: not any(map(lives, pids)), "the end of its processes")
        fleet.until("worker.orphaned: the supervisor is gone")

    assert await state_of(desk, job_id) == ("waiting", 0)


def test_a_process_that_was_killed_is_replaced_and_how_it_ended_is_said(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--processes", "2") as fleet:
        victim, other = fleet.up(2)
        die(victim)
        third = fleet.up(3)[-1]

        assert "was killed by SIGKILL" in fleet.until(f"pid={victim}")
        assert lives(third)
        assert lives(other)


def test_a_process_that_is_told_to_end_is_replaced(desk: Desk) -> None:
    with crew(desk, "worker", "app.py", "--processes", "1") as fleet:
        os.kill(fleet.up(1)[0], signal.SIGTERM)
        fleet.up(2)

        assert "ended with exit code 0" in fleet.until("fleet.process_died")


# What never works.


def test_what_is_wrong_with_all_of_them_is_said_once_and_the_code_is_2(desk: Desk) -> None:
    with crew(desk, "worker", "apq.py", "--processes", "3") as fleet:
        assert fleet.end() == 2

    assert fleet.said("error:") == ["error: apq.py: there is no such file (did you mean 'app.py'?)"]


def test_one_that_never_comes_up_is_given_up_with_its_code(desk: Desk) -> None:
    desk.write("app.py", "import os\nos._exit(7)\n")
    with crew(desk, "worker", "app.py", "--processes", "3") as fleet:
        assert fleet.end() == 7

    assert "tries=4 code=7" in fleet.until("fleet.given_up")


def test_no_processes_are_refused_in_one_line(desk: Desk) -> None:
    ended = desk.run("worker", "app.py", "--processes", "0")

    assert (ended.code, ended.err) == (2, "error: processes=0 must be at least 1\n")


def test_who_dies_again_and_again_is_waited_for_ever_longer() -> None:
    assert [_pause_after(deaths) for deaths in range(6)] == [0, 0, 0.5, 1, 2, 4]
    assert _pause_after(1000) == LONGEST_PAUSE_S
