"""One side's worker dies, another takes its jobs back; no side writes over another's lock."""

import asyncio
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from tests.interop.conftest import DUOS, Duo, Sides
from tests.interop.node import NodeError, peer
from tests.interop.sides import NodeSide, does, until
from tests.interop.toril_side import TorilSide
from toril._model.decide import Action, Decision, End
from toril.errors import LockLost

SHORT = {"lockDuration": 500, "stalledInterval": 200}
Kill = Callable[[], None]


@asynccontextmanager
async def victim(name: str, sides: Sides, **options: Any) -> AsyncIterator[Kill]:
    """Let a worker of this side work in a process of its own; what is given kills it."""
    if name != "toril":
        with peer(int(name.removeprefix("node")), sides.server.port) as running:
            await NodeSide(running, sides.prefix).work("cards", "victim", **options)
            yield running.kill
        return
    command = [sys.executable, "-m", "tests.interop.victim", sides.server.url, sides.prefix]
    process = await asyncio.create_subprocess_exec(
        *command, "cards", json.dumps(options), stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert await asyncio.wait_for(process.stdout.readline(), 10) == b"up\n"
        yield process.kill
    finally:
        if process.returncode is None:
            process.kill()
        await process.communicate()


@pytest.mark.parametrize(("dies", "saves"), DUOS, ids=lambda name: name)
async def test_the_jobs_of_a_killed_worker_are_run_by_the_other_side(
    sides: Sides, dies: str, saves: str
) -> None:
    saver = sides(saves)
    await saver.listen("cards")
    async with victim(dies, sides, **SHORT) as kill:
        job = await saver.add("cards", "n", does(["sleep", 60_000]))
        await until(lambda: saver.counts("cards"), {"active": 1})
        await saver.update("cards", job, does(["seen"]))
        kill()

        await saver.work("cards", "saver", **SHORT)
        inside = await saver.result("cards", job)

    assert (inside["attemptsMade"], inside["attemptsStarted"]) == (0, 2)
    seen = await saver.look("cards", job)
    assert seen is not None
    assert (seen.stalls, seen.attempts_made) == (1, 1)
    assert (seen.worker or "").startswith("saver")
    names = [name for name, _ in await saver.heard("cards")]
    assert names.count("stalled") == 1
    assert names.index("stalled") > names.index("active")


@pytest.mark.parametrize(("dies", "saves"), DUOS, ids=lambda name: name)
async def test_a_job_that_stalled_too_often_fails_without_being_run(
    sides: Sides, dies: str, saves: str
) -> None:
    saver = sides(saves)
    async with victim(dies, sides, **SHORT) as kill:
        job = await saver.add("cards", "n", does(["sleep", 60_000]))
        await until(lambda: saver.counts("cards"), {"active": 1})
        kill()

        await saver.work("cards", "saver", maxStalledCount=0, **SHORT)
        await until(lambda: saver.counts("cards"), {"failed": 1})

    assert await saver.runs() == []
    seen = await saver.look("cards", job)
    assert seen is not None
    assert (seen.stalls, seen.attempts_made) == (1, 1)
    assert seen.reason


async def test_a_job_that_one_side_gave_up_is_failed_by_the_other(duo: Duo, keys: Any) -> None:
    job = await duo.first.add("cards", "n", does())
    reason = "job stalled more than allowable limit"
    keys.hset(f"{duo.first.prefix}:cards:{job}", "defa", reason)

    await duo.second.work("cards")
    await until(lambda: duo.first.counts("cards"), {"failed": 1})

    assert await duo.second.runs() == []
    seen = await duo.first.look("cards", job)
    assert seen is not None
    assert seen.reason == reason
    assert not keys.hexists(f"{duo.first.prefix}:cards:{job}", "defa")


async def test_a_lock_is_renewed_for_as_long_as_its_job_runs(duo: Duo) -> None:
    job = await duo.first.add("cards", "n", does(["sleep", 1500], ["seen"]))
    await duo.second.work("cards", "slow", **SHORT)
    await duo.first.work("cards", "idle", **SHORT)

    inside = await duo.first.result("cards", job)

    assert inside["attemptsStarted"] == 1
    seen = await duo.first.look("cards", job)
    assert seen is not None
    assert seen.stalls == 0


async def test_a_worker_whose_lock_was_taken_changes_nothing(duo: Duo, keys: Any) -> None:
    job = await duo.first.add("cards", "n", does(["gate", "g"], ["return", "mine"]))
    await duo.second.work("cards")
    await duo.second.reached("g")
    lock = f"{duo.first.prefix}:cards:{job}:lock"
    keys.set(lock, "somebody else", px=60_000)

    await duo.second.go("g")
    await asyncio.sleep(0.3)

    assert await duo.first.counts("cards") == {"active": 1}
    seen = await duo.first.look("cards", job)
    assert seen is not None
    assert (seen.result, seen.finished, seen.attempts_made) == (None, None, 0)
    assert keys.get(lock) == "somebody else"


@pytest.mark.parametrize("state", ["completed", "failed"])
async def test_a_wrong_token_ends_no_job_of_the_other_side(duo: Duo, state: str) -> None:
    job = await duo.first.add("cards", "n", does(["gate", "g"], ["return", "mine"]))
    await duo.second.work("cards")
    await duo.second.reached("g")

    assert await end_with(duo.first, job, state, "not the token") == "refused"

    assert await duo.first.counts("cards") == {"active": 1}
    await duo.second.go("g")
    assert await duo.first.result("cards", job) == "mine"


@pytest.mark.parametrize("state", ["completed", "failed"])
async def test_whoever_has_the_token_may_end_the_job(duo: Duo, keys: Any, state: str) -> None:
    job = await duo.first.add("cards", "n", does(["gate", "g"], ["return", "mine"]))
    await duo.second.work("cards")
    await duo.second.reached("g")
    token = keys.get(f"{duo.first.prefix}:cards:{job}:lock")

    assert await end_with(duo.first, job, state, str(token)) == "done"
    await duo.second.go("g")
    await asyncio.sleep(0.2)

    assert await duo.second.counts("cards") == {state: 1}
    seen = await duo.second.look("cards", job)
    assert seen is not None
    ended = seen.result if state == "completed" else seen.reason
    assert ended == "theirs"
    assert not keys.exists(f"{duo.first.prefix}:cards:{job}:lock")


async def end_with(side: Any, job: str, state: str, token: str) -> str:
    """End an active job under a token, from outside of its worker."""
    if isinstance(side, TorilSide):
        decision = Decision(
            queue="cards",
            id=job,
            token=token,
            action=Action.COMPLETE if state == "completed" else Action.FAIL,
            end=End.RETURNED if state == "completed" else End.FAILED,
            result='"theirs"' if state == "completed" else None,
            reason=None if state == "completed" else "theirs",
        )
        (word,) = (await side.app.context.store.finish([decision])).words
        assert isinstance(word, (str, LockLost)), word
        return "refused" if isinstance(word, LockLost) else "done"
    try:
        await side.ask("end", queue="cards", job=job, state=state, token=token, value="theirs")
    except NodeError as error:
        # -2: there is no lock; -6: it is another's.
        assert error.code in (-2, -6), error  # noqa: PT017
        return "refused"
    return "done"
