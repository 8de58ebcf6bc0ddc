"""What the API answers about queues, jobs, flows, schedules and workers, on both stores."""

import asyncio
import json

import pytest

from tests.dashboard.desk import Client, dashboard
from toril import Toril

HOSTILE = ["a/b", "..", "a.b", "100%", "#1?x=y&z", "ü ✓ 漢", "<b>&\"'", "%2e%2e", "a|b,c"]


async def test_the_overview_counts_every_queue(app: Toril, client: Client) -> None:
    await app.queue("email").add_many([("send", {"n": n}) for n in range(3)])
    await app.queue("video").add("encode", {}, delay="1h")

    answer = await client.get("overview")

    rows = {row["name"]: row["counts"] for row in answer["queues"]}
    assert rows["email"]["waiting"] == 3
    assert rows["video"]["delayed"] == 1
    assert answer["counts"]["waiting"] == 3
    assert answer["workers"]["alive"] == 0


async def test_a_failed_job_says_why(app: Toril, client: Client) -> None:
    @app.task(queue="email", attempts=2, backoff="0ms")
    async def send(user: int) -> None:
        raise ConnectionError(f"no answer for user {user}")

    job = await send.enqueue(481)
    async with app.worker(stalled_interval="1h") as worker:
        await worker.run_until_idle()

    page = await client.get("jobs", q="state:failed")
    (row,) = page["items"]
    assert (row["id"], row["error"]) == (job.id, "no answer for user 481")
    assert (row["error_type"], row["attempts_made"]) == ("ConnectionError", 2)
    detail = await client.get("job", queue="email", id=job.id)
    assert detail["state"] == "failed"
    assert detail["reason"] == "no answer for user 481"
    assert len(detail["attempts_list"]) == 2
    assert "raise ConnectionError" in detail["stack"][-1]
    assert json.loads(detail["data_json"]) == {"user": 481}
    assert detail["call"] == "await send.enqueue(user=481)"
    assert detail["run_ms"] >= 0
    assert detail["wait_ms"] >= 0


async def test_a_job_names_the_failures_like_it_and_the_job_with_its_key(
    app: Toril, client: Client
) -> None:
    queue = app.queue("q")

    @queue.handler("n")
    async def n(data: dict[str, int]) -> None:
        raise ValueError(f"no user {data['user']}")

    first = await queue.add("n", {"user": 1}, dedup="key")
    other = await queue.add("n", {"user": 2})
    async with app.worker("q") as worker:
        await worker.run_until_idle()
    holder = await queue.add("n", {"user": 3}, dedup="key", delay="1h")

    detail = await client.get("job", queue="q", id=first.id)
    held = await client.get("job", queue="q", id=holder.id)
    plain = await client.get("job", queue="q", id=other.id)

    assert detail["like"]["count"] == 2
    assert detail["like"]["fingerprint"] == plain["like"]["fingerprint"]
    assert [row["id"] for row in detail["same_key"]] == [holder.id]
    assert (held["like"], held["same_key"], plain["same_key"]) == (None, [], [])


@pytest.mark.parametrize("job_id", HOSTILE)
async def test_any_id_and_name_can_be_asked_for(app: Toril, client: Client, job_id: str) -> None:
    await app.queue(f"q {job_id}").add(job_id, {"name": job_id}, id=f"x{job_id}")

    detail = await client.get("job", queue=f"q {job_id}", id=f"x{job_id}")

    assert (detail["queue"], detail["id"], detail["name"]) == (f"q {job_id}", f"x{job_id}", job_id)
    assert (await client.get("queue", name=f"q {job_id}"))["counts"]["waiting"] == 1
    done = await client.act("delete", {"jobs": [{"queue": f"q {job_id}", "id": f"x{job_id}"}]})
    assert done["done"] == 1


async def test_numbers_are_exact_and_long_values_are_cut(app: Toril, client: Client) -> None:
    data = {"big": 2**63 + 1, "exact": 0.1, "text": "x" * 400_000, "many": list(range(20_000))}
    job = await app.queue("q").add("n", data)

    detail = await client.get("job", queue="q", id=job.id)

    assert f'"big": {2**63 + 1}' in detail["data_json"]
    assert '"exact": 0.1' in detail["data_json"]
    assert detail["data_cut"]
    assert len(detail["data_json"]) < 20_000
    assert detail["data_size"] > 400_000
    assert json.loads(detail["data_json"])["text"]["$cut"] == "text"
    whole = await client.ask("value", queue="q", id=job.id, part="data")
    assert json.loads(whole.text) == data


async def test_deep_data_does_not_break_its_page(app: Toril, client: Client) -> None:
    deep: object = "bottom"
    for _ in range(90):
        deep = [deep]
    job = await app.queue("q").add("n", {"deep": deep})

    detail = await client.get("job", queue="q", id=job.id)

    assert "nested too deep" in detail["data_json"]
    json.loads(detail["data_json"])


async def test_pages_of_jobs_give_each_job_once(app: Toril, client: Client) -> None:
    @app.task(queue="q")
    async def noop(n: int) -> None: ...

    await noop.enqueue_many([(n,) for n in range(120)])
    async with app.worker(concurrency=20) as worker:
        await worker.run_until_idle()

    ids: list[str] = []
    cursor = ""
    while cursor is not None:
        page = await client.get("jobs", q="state:completed queue:q", cursor=cursor, limit=50)
        ids += [row["id"] for row in page["items"]]
        cursor = page["next"]

    assert len(ids) == len(set(ids)) == 120


async def test_jobs_that_finish_between_two_pages_are_not_listed_twice(
    app: Toril, client: Client
) -> None:
    @app.task(queue="q")
    async def noop(n: int) -> None: ...

    async def finish(count: int) -> None:
        await noop.enqueue_many([(n,) for n in range(count)])
        async with app.worker(concurrency=10) as worker:
            await worker.run_until_idle()

    await finish(60)
    first = await client.get("jobs", q="state:completed queue:q", limit=40)
    await finish(35)
    second = await client.get("jobs", q="state:completed queue:q", cursor=first["next"], limit=40)

    listed = [row["id"] for row in (*first["items"], *second["items"])]
    assert len(listed) == len(set(listed)) == 60


async def test_a_search_finds_jobs_by_id_name_and_data(app: Toril, client: Client) -> None:
    queue = app.queue("email")
    await queue.add("send_welcome", {"user_id": 481, "user": {"plan": "pro"}})
    await queue.add("send_bill", {"user_id": 7})
    other = await app.queue("video").add("encode", {"file": "a needle.mkv"}, id="job-x")

    async def found(q: str) -> list[str]:
        return [row["name"] for row in (await client.get("jobs", q=q))["items"]]

    assert await found("task:send_*") == ["send_bill", "send_welcome"] or ["send_welcome"]
    assert sorted(await found("task:send_*")) == ["send_bill", "send_welcome"]
    assert await found("user_id:481") == ["send_welcome"]
    assert await found("args.user.plan:pro") == ["send_welcome"]
    assert await found("needle") == ["encode"]
    assert await found('text:"a needle"') == ["encode"]
    assert await found(other.id) == ["encode"]
    assert await found(f"video:{other.id}") == ["encode"]
    plan = (await client.get("jobs", q="user_id:481"))["plan"]
    assert (plan["by"], plan["looked_at"], plan["of"], plan["done"]) == ("scan", 3, 3, True)
    assert (await client.get("jobs", q=other.id))["plan"]["by"] == "id"
    problem = (await client.get("jobs", q="state:wrong"))["problems"][0]
    assert "there is no state 'wrong'" in problem["message"]


async def test_a_flow_is_read_within_bounds(app: Toril, client: Client) -> None:
    children = [("work", "part", {"n": n}) for n in range(80)]
    tree = await app.flow("top", "all", children=children).add()

    answer = await client.get("flow", queue="top", id=tree.job.id)

    root, *parts = answer["nodes"]
    assert (root["state"], root["children"], len(parts)) == ("waiting-children", 80, 50)
    assert root["folded"]["count"] == 30
    assert answer["more"]
    assert all(node["parent"] == 0 for node in parts)
    rest = await client.get("flow", queue="top", id=tree.job.id, offset=50)
    assert len(rest["nodes"]) == 31
    child = await client.get("job", queue="work", id=parts[0]["id"])
    assert child["flow_root"] == {"queue": "top", "id": tree.job.id}


async def test_schedules_tell_their_next_runs(app: Toril, client: Client) -> None:
    await app.schedules.put("nightly", cron="0 3 * * *", tz="Europe/Berlin", queue="q", name="r")
    await app.schedules.put("often", every="15m", queue="q", name="r")

    page = await client.get("schedules")

    rows = {row["id"]: row for row in page["items"]}
    assert rows["nightly"]["pattern"] == "0 3 * * *"
    assert "Europe/Berlin" in rows["nightly"]["rule"]
    assert len(rows["nightly"]["next_ms"]) == 5
    gaps = [
        b - a for a, b in zip(rows["often"]["next_ms"], rows["often"]["next_ms"][1:], strict=False)
    ]
    assert gaps == [900_000] * 4
    assert (await client.get("schedule", queue="q", id="often"))["every_ms"] == 900_000


async def test_workers_and_what_needs_attention(app: Toril, client: Client) -> None:
    await app.queue("lonely").add("n")
    app.queue("served").handler("x")(lambda job: None)

    items = (await client.get("attention"))["items"]
    assert ("no_worker", "error", "lonely") in [(i["kind"], i["level"], i["queue"]) for i in items]
    async with app.worker("served", name="w-1"):
        for _ in range(200):
            rows = (await client.get("workers"))["items"]
            if rows:
                break
            await asyncio.sleep(0.05)
    assert rows[0]["name"] == "w-1"
    assert rows[0]["queues"] == ["served"]


async def test_tasks_show_their_parameters_but_no_secret_default(
    app: Toril, client: Client
) -> None:
    @app.task(queue="q", attempts=3)
    async def charge(user_id: int, amount: float = 1.5, password: str = "hunter2") -> None:
        """Charge a card."""

    (row,) = (await client.get("tasks"))["items"]

    kinds = [(each["name"], each["kind"], each["required"]) for each in row["parameters"]]
    assert kinds == [
        ("user_id", "integer", True), ("amount", "number", False), ("password", "text", False),
    ]  # fmt: skip
    assert [each["default_json"] for each in row["parameters"]] == [None, "1.5", None]
    assert row["doc"] == "Charge a card."
    assert "test_reading.py:" in row["where"]


async def test_logs_are_read_from_where_one_was(app: Toril, client: Client) -> None:
    @app.task(queue="q")
    async def talk() -> None:
        from toril import current_job

        for n in range(5):
            await current_job().log(f"line {n}, token=abc123")

    job = await talk.enqueue()
    async with app.worker() as worker:
        await worker.run_until_idle()

    answer = await client.get("job/log", queue="q", id=job.id, after=3)

    assert answer == {
        "lines": ["line 3, token=[hidden]", "line 4, token=[hidden]"],
        "total": 5,
    }


async def test_autoscalers_and_prometheus_are_answered(app: Toril, client: Client) -> None:
    await app.queue('we"ird\\q').add_many([("n", {}) for _ in range(7)])

    scale = await client.raw("GET", "scale?queue=we%22ird%5Cq&slots=2")
    text = (await client.raw("GET", "metrics")).text

    assert scale.json["ready"] == 7
    assert scale.json["need"] == 4
    assert 'toril_jobs{queue="we\\"ird\\\\q",state="waiting"} 7' in text
    assert (await client.raw("GET", "healthz")).json["ok"] is True


async def test_what_is_not_there_is_said(app: Toril, client: Client) -> None:
    await app.queue("q").add("n")

    for path, query, status in [
        ("job", {"queue": "q", "id": "nope"}, 404),
        ("queue", {"name": "nope"}, 404),
        ("job", {"queue": "q"}, 400),
        ("jobs", {"cursor": "nonsense!"}, 400),
        ("flow", {"queue": "q", "id": "1", "depth": "99"}, 400),
        ("nothing", {}, 404),
    ]:
        answer = await client.ask(path, **query)
        assert answer.status == status, (path, answer)
        assert answer.json["message"]


async def test_the_document_describes_every_route(app: Toril, client: Client) -> None:
    document = await client.get("openapi.json")

    assert document["openapi"].startswith("3.")
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (path, method)
    jobs = document["components"]["schemas"]["JobRow"]
    assert set(jobs["required"]) == set(jobs["properties"])
    row = (await client.get("jobs"))["items"]
    await app.queue("q").add("n")
    (row,) = (await client.get("jobs"))["items"]
    assert set(row) == set(jobs["properties"])


async def test_without_a_build_one_page_says_how_to_build(app: Toril) -> None:
    async with dashboard(app, base_path="/admin/jobs") as client:
        answer = await client.raw("GET", "admin/jobs/queues")

    assert answer.status == 200
    assert '<base href="/admin/jobs/">' in answer.text
    assert "default-src 'none'" in answer.headers["content-security-policy"]
