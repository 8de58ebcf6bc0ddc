"""`toril metrics`: what Prometheus is answered."""

import asyncio
import signal
import sys
import urllib.request
from urllib.error import HTTPError

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.support.desk import Desk
from toril import Toril


async def fill(desk: Desk) -> None:
    async with Toril(f"sqlite:///{desk.folder / 'jobs.db'}") as app:
        await app.queue("mail").add_many([("send", {}), ("send", {})])


def value(text: str, name: str, **labels: str) -> float:
    (found,) = [
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and sample.labels == labels
    ]
    return found


def get(url: str) -> tuple[int, str, str]:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.headers["Content-Type"], answer.read().decode()
    except HTTPError as error:
        with error:
            return error.code, error.headers["Content-Type"], error.read().decode()


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")
async def test_prometheus_is_answered_until_a_signal_arrives(desk: Desk) -> None:
    await fill(desk)
    with desk.start("metrics", "sqlite:///jobs.db", "--port", "0") as process:
        assert process.stdout is not None
        line = await asyncio.to_thread(process.stdout.readline)
        where = line.split()[-1]
        status, kind, text = await asyncio.to_thread(get, where)
        wrong = await asyncio.to_thread(get, where.removesuffix("metrics"))
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0

    assert (status, kind) == (200, "text/plain; version=0.0.4; charset=utf-8")
    assert value(text, "toril_jobs", queue="mail", state="waiting") == 2
    assert wrong[0] == 404


async def test_the_metrics_are_printed_once(desk: Desk) -> None:
    await fill(desk)
    ended = desk.run("metrics", "--once", "--url", "sqlite:///jobs.db")
    assert ended.code == 0
    assert value(ended.out, "toril_jobs_added_total", queue="mail") == 2


async def test_alerts_of_the_app_are_watched(desk: Desk) -> None:
    await fill(desk)
    desk.write(
        "app.py",
        "from toril import Toril\n"
        "app = Toril('sqlite:///jobs.db')\n"
        "def tell(alert):\n"
        "    print(alert.kind, alert.subject, flush=True)\n"
        "app.alert(tell, workers_gone=0, every='10ms')\n",
    )
    with desk.start("metrics", "--app", "app.py", "--port", "0") as process:
        assert process.stdout is not None
        await asyncio.to_thread(process.stdout.readline)
        assert await asyncio.to_thread(process.stdout.readline) == "workers_gone mail\n"
        process.terminate()
        await asyncio.to_thread(process.wait, 10)


def test_what_is_not_there_is_one_line(desk: Desk) -> None:
    ended = desk.run("metrics", "sqlite:///nowhere.db")
    assert ended.code == 2
    assert ended.err.startswith("error: there is nothing at")
    twice = desk.run("metrics", "sqlite:///a.db", "--url", "sqlite:///b.db")
    assert (twice.code, "twice" in twice.err) == (2, True)
