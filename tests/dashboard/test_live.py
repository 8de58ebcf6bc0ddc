"""The stream of events, and what it costs the store."""

import asyncio
from typing import Any

from tests.dashboard.desk import Client, dashboard, stream
from toril import Toril


async def test_a_stream_begins_with_everything_and_goes_on_with_changes(
    app: Toril, client: Client
) -> None:
    await app.queue("email").add("n")
    events = await stream(client, "overview,workers")

    whole = await events.until("overview")
    await app.queue("email").add("n")
    while True:
        delta = await events.until("delta")
        if any(row["counts"]["waiting"] == 2 for row in delta["queues"]):
            break
    events.close()

    assert whole["whole"]
    assert whole["queues"][0]["counts"]["waiting"] == 1


async def test_a_client_that_comes_back_gets_what_it_missed(app: Toril, client: Client) -> None:
    await app.queue("email").add("n")
    events = await stream(client, "overview")
    await events.until("overview")
    last, _, _ = await events.next()
    keeper = await stream(client, "overview")
    events.close()
    await keeper.until("delta")
    await keeper.until("delta")

    again = await stream(client, "overview", last)
    number, name, _ = await again.next()
    stranger = await stream(client, "overview", "other-7")
    _, first, _ = await stranger.next()
    for each in (keeper, again, stranger):
        each.close()

    assert name == "delta"
    assert int(number.partition("-")[2]) > int(last.partition("-")[2])
    assert first == "overview"


async def test_a_job_is_followed_by_its_events(app: Toril, client: Client) -> None:
    @app.queue("q/1").handler("n")
    async def work(job: Any) -> None: ...

    job = await app.queue("q/1").add("n")
    events = await stream(client, f"job:q%2F1|{job.id}")
    await asyncio.sleep(0.2)  # its reader starts with the newest event
    async with app.worker("q/1") as worker:
        await worker.run_until_idle()

    kinds = []
    while "completed" not in kinds:
        kinds.append((await events.until("job"))["kind"])
    events.close()

    assert "active" in kinds


async def test_fifty_viewers_cost_the_store_what_one_costs(app: Toril) -> None:
    await app.queue("email").add_many([("n", {}) for _ in range(3)])
    async with dashboard(app) as client:
        calls = 0
        overview = app.overview

        async def counted(*names: str) -> Any:
            nonlocal calls
            calls += 1
            return await overview(*names)

        app.overview = counted  # type: ignore[method-assign]
        events = [await stream(client, "overview,workers") for _ in range(50)]
        await asyncio.gather(*(each.until("overview", 10) for each in events))
        calls = 0
        for _ in range(2):
            await asyncio.gather(*(each.until("delta", 10) for each in events))
        for each in events:
            each.close()

    assert calls <= 4


async def test_a_slow_viewer_is_given_everything_afresh(app: Toril) -> None:
    from toril.dashboard.hub import UNREAD, Hub
    from toril.dashboard.sampler import Sampler

    await app.queue("email").add("n")
    hub = Hub(app, Sampler(app))
    viewer = hub.open(["overview"], None)
    await hub.whole(viewer)
    for _ in range(UNREAD + 3):
        hub._send("overview", "delta", b"{}", None)

    assert (viewer.overrun, len(viewer.unread)) == (True, 0)
    (frame,) = await hub.whole(viewer)
    assert frame.event == "overview"
    hub.close(viewer)
    await hub.stop()


async def test_wrong_topics_are_refused(app: Toril, client: Client) -> None:
    for topics in ("", "nonsense", "job:q", "queue:", ",".join(f"queue:q{n}" for n in range(40))):
        assert (await client.ask("stream", topics=topics)).status == 400, topics


async def test_answers_are_compressed_where_the_client_can_read_it(
    app: Toril, client: Client
) -> None:
    await app.queue("email").add_many([(f"n{n}", {}) for n in range(50)])

    answer = await client.raw("GET", "api/v1/jobs", b"", {"Accept-Encoding": "gzip"})
    plain = await client.raw("GET", "api/v1/jobs")

    assert answer.headers["content-encoding"] == "gzip"
    assert int(answer.headers["content-length"]) < len(plain.text) / 4
    assert answer.json == plain.json
