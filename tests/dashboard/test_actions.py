"""Actions on jobs, queues and schedules, on both stores; and what is noted of them."""

import asyncio
from typing import Any

import pytest

from tests.dashboard.desk import Client, dashboard
from toril import Job, Toril


async def fail_some(app: Toril, count: int, *, queue: str = "email") -> list[str]:
    """Return the ids of jobs that have failed."""

    @app.queue(queue).handler("boom")
    async def boom(job: Job[Any]) -> None:
        raise ValueError(f"wrong number {job.data['n']}")

    jobs = await app.queue(queue).add_many([("boom", {"n": n}) for n in range(count)])
    async with app.worker(queue, concurrency=20) as worker:
        await worker.run_until_idle()
    return [job.id for job in jobs]


async def ended(client: Client, operation: str) -> dict[str, Any]:
    """Return an operation when it has ended."""
    async with asyncio.timeout(10):
        while True:
            rows = (await client.get("operations"))["items"]
            row = next(row for row in rows if row["id"] == operation)
            if row["state"] != "running":
                return row  # type: ignore[no-any-return]
            await asyncio.sleep(0.02)


async def test_one_job_is_retried_and_a_second_click_says_so(app: Toril, client: Client) -> None:
    (job_id,) = await fail_some(app, 1)
    target = {"jobs": [{"queue": "email", "id": job_id}, {"queue": "email", "id": "gone"}]}

    dry = await client.act("retry", target, dry_run=True)
    first = await client.act("retry", target)
    second = await client.act("retry", target)

    assert (dry["count"], dry["untouched"]) == (1, [{"why": "gone", "count": 1}])
    assert dry["sample"][0]["error"] == "wrong number 0"
    assert first["done"] == 1
    assert [row["id"] for row in first["refused"]] == ["gone"]
    assert second["done"] == 0
    assert "waiting" in next(r["message"] for r in second["refused"] if r["id"] == job_id)
    assert (await app.queue("email").counts()).waiting == 1


async def test_all_failed_jobs_are_previewed_and_retried(app: Toril, client: Client) -> None:
    await fail_some(app, 30)
    await app.queue("email").add("other")
    query = {"query": "state:failed queue:email"}

    dry = await client.act("retry", query, dry_run=True)
    answer = await client.act("retry", query, reason="provider is back")
    row = await ended(client, answer["operation"])

    assert (dry["count"], dry["exact"], dry["by_queue"]) == (30, True, {"email": 30})
    assert dry["by_task"] == {"boom": 30}
    assert len(dry["sample"]) == 5
    assert (row["state"], row["done"], row["total"], row["failed"]) == ("done", 30, 30, 0)
    counts = await app.queue("email").counts()
    assert (counts.failed, counts.waiting) == (0, 31)
    (entry,) = (await client.get("audit"))["items"]
    assert (entry["user"], entry["action"], entry["count"]) == ("local", "retry", 30)
    assert entry["reason"] == "provider is back"


async def test_one_error_group_is_retried_and_no_other(app: Toril, client: Client) -> None:
    @app.queue("email").handler("two")
    async def two(job: Job[Any]) -> None:
        if job.data["n"] % 2:
            raise ConnectionError("cannot reach the host")
        raise KeyError("vat")

    await app.queue("email").add_many([("two", {"n": n}) for n in range(8)])
    async with app.worker("email", concurrency=4) as worker:
        await worker.run_until_idle()

    groups = {row["type"]: row for row in (await client.get("errors"))["items"]}
    assert groups["ConnectionError"]["count"] == groups["KeyError"]["count"] == 4
    fingerprint = groups["KeyError"]["fingerprint"]
    detail = await client.get("error", fp=fingerprint)
    assert detail["last"]["stack"].rstrip().endswith("KeyError: 'vat'")
    assert {row["fingerprint"] for row in detail["sample"]} == {fingerprint}

    dry = await client.act("retry", {"fingerprint": fingerprint}, dry_run=True)
    answer = await client.act("retry", {"fingerprint": fingerprint})
    await ended(client, answer["operation"])

    assert dry["count"] == 4
    counts = await app.queue("email").counts()
    assert (counts.failed, counts.waiting) == (4, 4)


async def test_an_operation_is_stopped_between_two_steps(app: Toril, client: Client) -> None:
    await fail_some(app, 40)
    answer = await client.act("retry", {"query": "state:failed"}, params={"rate": 1})
    operation = answer["operation"]
    async with asyncio.timeout(10):
        while not (await client.get("operations"))["items"][0]["done"]:  # noqa: ASYNC110  # it is asked as a browser would
            await asyncio.sleep(0.02)

    stopped = (await client.post("operations/cancel", {"id": operation})).json
    again = (await client.post("operations/cancel", {"id": operation})).json

    assert stopped["state"] == again["state"] == "cancelled"
    assert (await client.post("operations/cancel", {"id": "none"})).status == 404


async def test_jobs_that_come_later_are_not_touched(app: Toril, client: Client) -> None:
    await fail_some(app, 3)
    answer = await client.act("delete", {"query": "state:failed"})
    row = await ended(client, answer["operation"])
    await fail_some(app, 2)

    assert row["done"] == 3
    assert (await app.queue("email").counts()).failed == 2


async def test_delayed_jobs_start_now_and_waiting_ones_are_cancelled(
    app: Toril, client: Client
) -> None:
    delayed = await app.queue("q").add("n", {}, delay="1h")
    waiting = await app.queue("q").add("n")

    await client.act("run_now", {"jobs": [{"queue": "q", "id": delayed.id}]})
    await client.act("cancel", {"jobs": [{"queue": "q", "id": waiting.id}]}, reason="wrong user")

    assert await delayed.state() == "waiting"
    await waiting.refresh()
    assert waiting.error == "cancelled: wrong user"


async def test_priority_and_time_of_a_job_change(app: Toril, client: Client) -> None:
    job = await app.queue("q").add("n", {}, delay="1h", priority=5)
    target = {"jobs": [{"queue": "q", "id": job.id}]}

    answer = await client.act("priority", target, params={"priority": 2})
    await client.act("reschedule", target, params={"delay": "2h"})
    wrong = await client.post("act", {"action": "priority", "target": target, "params": {}})

    await job.refresh()
    assert job.record.priority == 2
    assert answer["undo"]["params"] == {"priority": 5}
    assert wrong.status == 400


async def test_a_queue_is_paused_limited_emptied_and_deleted(app: Toril, client: Client) -> None:
    await app.queue("q").add_many([("n", {}) for _ in range(4)])
    target = {"queue": "q"}

    paused = await client.act("pause", target, reason="provider down", params={"until": "30m"})
    noted = (await client.get("queue", name="q"))["paused"]
    assert (noted["by"], noted["reason"]) == ("local", "provider down")
    assert noted["until_ms"] - noted["since_ms"] == pytest.approx(30 * 60_000, abs=1_000)
    wrong = {"action": "pause", "target": target, "params": {"until": "soon"}}
    assert (await client.post("act", wrong)).status == 400
    await client.act(paused["undo"]["action"], paused["undo"]["target"])
    assert not await app.queue("q").is_paused()
    limited = await client.act("limits", target, params={"concurrency": 3, "rate": "10/1s"})
    assert (await client.get("queue", name="q"))["concurrency"] == 3
    await client.act("limits", limited["undo"]["target"], params=limited["undo"]["params"])
    assert (await client.get("queue", name="q"))["rate_max"] is None
    assert (await client.act("empty", target, dry_run=True))["count"] == 4
    assert (await client.act("empty", target))["done"] == 4
    assert (await client.post("act", {"action": "delete", "target": target})).status == 400
    await client.act("delete", target, params={"confirm": "q"})
    assert (await app.queue("q").counts()).total == 0
    actions = [row["action"] for row in (await client.get("audit"))["items"]]
    assert actions == ["delete", "empty", "limits", "limits", "resume", "pause"]


async def test_a_schedule_runs_now_and_is_deleted(app: Toril, client: Client) -> None:
    await app.schedules.put("nightly", cron="0 3 * * *", queue="q", name="report", data={"n": 1})
    target = {"schedule": {"queue": "q", "id": "nightly"}}

    added = (await client.act("run_now", target))["added"]
    job = await app.queue("q").job(added["id"])
    await client.act("delete", target)

    assert job is not None
    assert (job.name, job.data, await job.state()) == ("report", {"n": 1}, "waiting")
    assert (await client.get("schedules"))["items"] == []


async def test_a_schedule_is_paused_and_resumed(app: Toril, client: Client) -> None:
    await app.schedules.put("nightly", queue="q", name="report", cron="0 3 * * *")
    target = {"schedule": {"queue": "q", "id": "nightly"}}

    await client.act("pause", target, reason="provider down")
    (paused,) = (await client.get("schedules"))["items"]
    await client.act("resume", target)
    (resumed,) = (await client.get("schedules"))["items"]

    assert (paused["paused"]["by"], paused["paused"]["reason"]) == ("local", "provider down")
    assert (paused["next_ms"], resumed["paused"]) == ([], None)
    assert len(resumed["next_ms"]) == 5
    actions = [row["action"] for row in (await client.get("audit"))["items"]]
    assert actions == ["schedule resume", "schedule pause"]


async def test_a_job_is_added_with_the_checks_of_its_task(app: Toril, client: Client) -> None:
    @app.task(queue="q", attempts=7)
    async def send(user_id: int, to: str = "all") -> None: ...

    body = {"queue": "q", "name": "send", "args_json": '{"user_id": 9007199254740993}'}
    added = (await client.post("jobs", body)).json
    wrong = await client.post("jobs", {**body, "args_json": '{"user_id": "x"}'})
    unknown = await client.post("jobs", {**body, "options": {"nonsense": 1}})
    twice = [await client.post("jobs", {**body, "options": {"id": "once-1"}}) for _ in range(2)]
    plain = (await client.post("jobs", {"queue": "r", "name": "any", "args_json": "[1, 2]"})).json

    job = await app.queue("q").job(added["id"])
    assert job is not None
    assert (job.data["user_id"], job.record.options.attempts) == (9007199254740993, 7)
    assert (wrong.status, unknown.status) == (400, 400)
    assert "user_id" in wrong.json["message"]
    assert [each.json["duplicate"] for each in twice] == [False, True]
    other = await app.queue("r").job(plain["id"])
    assert other is not None
    assert other.data == [1, 2]


async def test_what_is_no_action_is_refused(app: Toril, client: Client) -> None:
    await app.queue("q").add("n")
    for body in [
        {"action": "explode", "target": {"jobs": [{"queue": "q", "id": "1"}]}},
        {"action": "retry", "target": {}},
        {"action": "retry", "target": {"queue": "q", "query": ""}},
        {"action": "retry", "target": {"jobs": []}},
        {"action": "retry", "target": {"query": "state:wrong"}},
        {"action": "retry", "target": {"query": "run:soon"}},
        {"action": "explode", "target": {"queue": "q"}},
        {"action": "retry", "target": {"query": ""}, "params": {"rate": -1}},
        {"action": 7},
    ]:
        assert (await client.post("act", body)).status == 400, body
    assert (await app.queue("q").counts()).waiting == 1


async def test_curves_show_what_was_counted(app: Toril, client: Client) -> None:
    await fail_some(app, 3)
    await app.monitor.mark("v2.14", by="deploy")

    curves = await client.get("series", queue="email", range="1h")
    heat = await client.get("heat", queue="email", range="6h")
    row = await client.get("queue", name="email")

    assert (sum(curves["added"]), sum(curves["failed"])) == (3, 3)
    assert len(curves["added"]) == len(curves["run_p95_ms"]) == 60
    assert curves["marks"][0]["text"] == "v2.14"
    assert sum(map(sum, heat["columns"])) == 3
    assert (row["failed_1h"], sum(row["spark"])) == (3, 3)
    assert (await client.ask("series", range="2y")).status == 400


async def test_tasks_show_how_they_did(app: Toril, client: Client) -> None:
    await fail_some(app, 4)

    rows = {row["name"]: row for row in (await client.get("tasks"))["items"]}

    assert (rows["boom"]["declared"], rows["boom"]["failed_share"]) == (False, 1.0)
    assert sum(rows["boom"]["spark"]) == 4
    assert (await client.get("overview"))["errors"] == 1


async def test_declared_fields_and_tags_are_found_without_a_scan(
    app: Toril, client: Client
) -> None:
    queue = app.queue("email", index=["user_id"])
    await queue.add_many([("send", {"user_id": n % 10}, {"tags": ["beta"]}) for n in range(60)])

    page = await client.get("jobs", q="user_id:4", limit=4)
    rest = await client.get("jobs", q="user_id:4", limit=4, cursor=page["next"])
    tagged = await client.get("jobs", q="tag:beta", limit=200)

    assert (page["plan"]["by"], page["plan"]["index"]) == ("index", "user_id")
    assert {row["fields"]["user_id"][0] for row in page["items"]} == {"4"}
    assert page["items"][0]["tags"] == ["beta"]
    assert len({row["id"] for row in (*page["items"], *rest["items"])}) == 6
    assert len(tagged["items"]) == 60


async def test_an_operation_is_known_to_another_dashboard(app: Toril, client: Client) -> None:
    await fail_some(app, 2)
    answer = await client.act("retry", {"query": "state:failed"})
    await ended(client, answer["operation"])

    async with dashboard(app) as other:
        rows = (await other.get("operations"))["items"]

    assert [(row["id"], row["state"], row["done"]) for row in rows] == [
        (answer["operation"], "done", 2)
    ]
