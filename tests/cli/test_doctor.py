"""`toril doctor` finds what is wrong, says what to do, and tells CI by its exit code."""

import asyncio
import json
from pathlib import Path
from typing import Any

from tests.support.desk import Desk, Ended
from tests.support.servers import RedisServer
from toril import Job
from toril._model.schedule import Rule
from toril._store.values import ClaimRequest, ScheduleDraft

from .stock import EVIL, Stock, fail, known

# What docs/guides/redis.md says, without `+info`.
NARROW = (
    "user toril on >secret resetchannels ~bull:* -@all +@read +@write +@connection +@transaction "
    "+@scripting +@blocking -@dangerous -@admin -script|flush -script|kill -function +time"
)


def found(ended: Ended) -> dict[str, dict[str, Any]]:
    """Give what was found by its name; the worst where a name stands several times."""
    every = json.loads(ended.out)["findings"]
    return {each["name"]: each for each in sorted(every, key=lambda each: each["level"] == "error")}


def examine(place: Stock, *words: str) -> dict[str, dict[str, Any]]:
    return found(place.toril("doctor", "--json", *words))


def path_of(place: Stock) -> Path:
    return Path(place.url.removeprefix("sqlite:///"))


def damage(path: Path) -> None:
    """Overwrite the middle of a file."""
    text = bytearray(path.read_bytes())
    text[len(text) // 2 : len(text) // 2 + 40_000] = b"\xff" * 40_000
    path.write_bytes(text)


async def work(job: Job[Any]) -> None: ...


# The store.


async def test_a_sound_file_is_well(file: Stock) -> None:
    async with file.queue() as queue:
        await queue.limit(concurrency=3)

    ended = file.toril("doctor", "--strict")

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.splitlines()[-1] == "all is well"
    assert "the file is sound (quick_check)" in ended.out


def test_a_file_that_is_not_there_is_an_error_and_is_not_made(file: Stock) -> None:
    ended = file.toril("doctor")

    assert ended.code == 1
    assert ended.out.startswith("error  store             there is nothing at sqlite:///")
    assert list(file.desk.folder.iterdir()) == []


async def test_a_file_that_others_may_read_is_a_warning(file: Stock) -> None:
    async with file.queue() as queue:
        await queue.pause()
    await asyncio.to_thread(path_of(file).chmod, 0o644)

    plain, strict = file.toril("doctor", "--json"), file.toril("doctor", "--strict")

    assert (plain.code, strict.code) == (0, 1)
    assert found(plain)["store.rights"]["level"] == "warn"
    assert "jobs.db 644" in found(plain)["store.rights"]["message"]
    assert "→ chmod 600 " in strict.out


async def test_a_damaged_file_is_an_error(file: Stock) -> None:
    async with file.queue() as queue:
        await queue.add_many([("send", {"text": "x" * 3_000}) for _ in range(100)])
    await asyncio.to_thread(damage, path_of(file))

    ended = file.toril("doctor")

    assert ended.code == 1
    assert "damaged" in ended.out


def test_a_server_that_is_away_is_an_error(desk: Desk) -> None:
    ended = desk.run("doctor", "--url", "redis://ann:secret@127.0.0.1:1")

    assert ended.code == 1
    assert "Connection refused" in ended.out
    assert "secret" not in ended.out


def test_a_url_that_names_no_store_is_a_mistake(desk: Desk) -> None:
    ended = desk.run("doctor", "--url", "redsi://localhost")

    assert (ended.code, ended.out) == (2, "")


def test_a_server_that_evicts_and_forgets_is_told_of(desk: Desk) -> None:
    with RedisServer(maxmemory_policy="allkeys-lru") as server:
        ended = desk.run("doctor", "--json", "--url", server.url)

    assert ended.code == 1
    assert found(ended)["store.evicts"]["level"] == "error"
    assert found(ended)["store.evicts"]["hint"] == "set it to noeviction"
    assert found(ended)["store.forgets"]["level"] == "warn"
    assert found(ended)["clock"]["level"] == "ok"


def test_a_server_that_is_nearly_full_is_told_of(desk: Desk) -> None:
    with RedisServer(appendonly=True) as server:
        used = int(server.client().info("memory")["used_memory"])
        server.call("CONFIG", "SET", "maxmemory", str(int(used * 1.05)))
        told = found(desk.run("doctor", "--json", "--url", server.url))

    assert (told["store.room"]["level"], told["store.forgets"]["level"]) == ("warn", "ok")


def test_a_user_with_few_rights_hears_what_could_not_be_looked_at(desk: Desk) -> None:
    with RedisServer(acl=[NARROW]) as server:
        ended = desk.run("doctor", "--json", "--url", server.url_of("toril", "secret"))

    assert (ended.code, ended.err) == (0, "")
    assert "may not run INFO" in found(ended)["store.unchecked"]["message"]


# Queues.


async def test_jobs_that_nobody_will_run_are_an_error(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add_many([("send", {}), ("send", {})])

    told = examine(place)["queue.unserved"]

    assert (told["level"], told["queue"]) == ("error", "mail")
    assert told["message"] == "no living worker serves it, and 2 jobs wait"


async def test_a_queue_with_a_worker_is_served(place: Stock) -> None:
    async with place.app() as app:
        job = await app.queue("mail").add("send", {})
        async with app.worker("mail", work):
            await job.result(10)
            await known(app)
            told = await asyncio.to_thread(examine, place)

    assert told["queue.served"]["message"] == "1 worker serves it; 0 ready, 0 active"
    assert "queue.unserved" not in told


async def test_a_misspelt_queue_is_recognised(place: Stock) -> None:
    async with place.app() as app:
        job = await app.queue("mail").add("send", {})
        await app.queue("mails").add("send", {})
        async with app.worker("mail", work):
            await job.result(10)
            await known(app)
            told = await asyncio.to_thread(examine, place)

    assert told["queue.unserved"]["hint"].startswith("workers serve 'mail'")


async def test_a_paused_queue_with_jobs_is_a_warning(place: Stock) -> None:
    async with place.queue() as queue:
        await queue.add("send", {})
        await queue.pause()

    told = examine(place)["queue.paused"]

    assert (told["level"], told["hint"]) == ("warn", "toril resume mail")


async def test_a_name_that_no_worker_knows_is_an_error(place: Stock) -> None:
    async with place.app() as app:
        queue = app.queue("mail")
        queue.handler("other")(work)
        job = await queue.add(f"send{EVIL}", {})
        async with app.worker("mail"):
            async for event in job.events("0"):
                if event.kind == "delayed":
                    break

    ended = place.toril("doctor")

    assert ended.code == 1
    assert "no worker that looked has a handler for 'send\\x1b[2J" in ended.out
    assert "\x1b" not in ended.out


async def test_many_failures_within_the_hour_are_a_warning(place: Stock) -> None:
    async with place.app() as app:
        await fail(app, *[f"job-{number}" for number in range(12)])

    told = examine(place)["queue.failed"]

    assert (told["level"], told["hint"]) == ("warn", "toril jobs mail --state failed --newest")


async def test_dead_letters_that_pile_up_are_a_warning(place: Stock) -> None:
    async with place.app() as app:
        await app.queue("mail", dead_letter="letters").pause()
        await app.queue("letters").add_many([("failed-job", {})] * 100)

    told = examine(place)

    assert told["queue.letters"]["level"] == "warn"
    assert "queue.unserved" not in told


async def test_a_schedule_that_did_not_run_is_an_error(place: Stock) -> None:
    async with place.app() as app:
        store = await app.context.ready()
        rule = Rule(every_ms=60_000)
        await store.put_schedule(
            ScheduleDraft(queue="mail", id="often", name="send", rule=rule, next_ms=1_000_000)
        )

    told = examine(place)["schedule.late"]

    assert (told["level"], told["queue"]) == ("error", "mail")
    assert told["message"].startswith("schedule 'often' was to run ")
    assert told["hint"] == "no living worker serves its queue: start one"


async def test_an_active_job_without_a_lock_is_told_of(place: Stock) -> None:
    async with place.app() as app:
        await app.queue("mail").add("send", {})
        store = await app.context.ready()
        await store.claim([ClaimRequest(queue="mail", limit=1, token="t", lock_ms=1)])
        await asyncio.sleep(0.01)
        told = await asyncio.to_thread(examine, place)

    assert told["job.unlocked"]["level"] == "warn"
    assert "such as '1'" in told["job.unlocked"]["message"]


async def test_the_same_is_found_by_an_app(file: Stock) -> None:
    async with file.app() as app:
        assert {each.level for each in await app.examine()} == {"ok"}
