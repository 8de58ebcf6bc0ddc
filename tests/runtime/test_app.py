"""The app, its URL, its environment, and code that blocks."""

import asyncio
import logging
import threading
from pathlib import Path

import pytest

import toril
from toril import ConfigError, Toril, TorilError, sync
from toril._jobs import environment
from toril._store.connect import connect


@pytest.mark.parametrize(
    ("name", "url"),
    [
        ("jobs.db", "sqlite:///{0}/jobs.db"),
        ("jobs.db", "sqlite:///{0}/jobs.db?synchronous=normal"),
        ("jobs.db", "{0}/jobs.db"),
    ],
)
async def test_a_url_names_a_file(tmp_path: Path, name: str, url: str) -> None:
    async with Toril(url.format(tmp_path)) as app:
        await app.queue("a").add("b")

    assert (tmp_path / name).exists()


@pytest.mark.parametrize("url", [":memory:", "sqlite://:memory:", "sqlite:///:memory:"])
async def test_a_url_names_memory(url: str) -> None:
    async with Toril(url) as app:
        assert (await app.queue("a").add("b")).id == "1"


@pytest.mark.parametrize(
    ("message", "url"),
    [
        ("no store is called 'sqlit'.*did you mean 'sqlite'", "sqlit:///x.db"),
        ("no store is called .redsi.*did you mean .redis", "redsi://localhost"),
        ("it names no file", "sqlite://"),
        ("it names no file", "sqlite:///"),
        ("three slashes", "sqlite://x.db"),
        ("it names no store", "jobs"),
        ("no setting 'synchronos'.*did you mean 'synchronous'", "sqlite:///x.db?synchronos=off"),
        ("synchronous", "sqlite:///x.db?synchronous=maybe"),
    ],
)
def test_a_url_that_names_no_store_is_refused(message: str, url: str) -> None:
    with pytest.raises(ConfigError, match=message):
        connect(url)


def test_a_password_in_a_url_is_not_shown() -> None:
    with pytest.raises(ConfigError) as caught:
        connect("postgres://me:secret@host/db")

    assert "secret" not in str(caught.value) + str(caught.value.value)


def test_the_environment_says_where_jobs_are(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("TORIL_URL", f"sqlite:///{tmp_path}/env.db")

    assert Toril().url == f"sqlite:///{tmp_path}/env.db"
    assert Toril(":memory:").url == ":memory:"


def test_without_a_url_the_path_is_said_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("TORIL_URL", raising=False)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(environment, "_said", set[str]())
    Toril()
    Toril()

    assert capsys.readouterr().err.count(str(tmp_path / "toril.db")) == 1
    assert not (tmp_path / "toril.db").exists()


def test_an_unknown_variable_is_noticed(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "toril.settings"):
        environment.read_settings({"TORIL_ULR": "x"})

    assert [getattr(record, "nearest", None) for record in caplog.records] == ["TORIL_URL"]


def test_a_bad_default_is_refused() -> None:
    with pytest.raises(ConfigError, match="did you mean 'attempts'"):
        Toril(":memory:", atempts=3)  # type: ignore[call-arg]


async def test_an_app_can_be_used_again_after_it_was_closed(tmp_path: Path) -> None:
    app = Toril(f"sqlite:///{tmp_path}/jobs.db")
    await app.queue("a").add("b")
    await app.close()

    assert (await app.queue("a").counts()).waiting == 1
    await app.close()


async def test_workers_and_queues_are_listed(app: Toril) -> None:
    async with app.worker("demo", lambda job: None, name="w1"):
        await app.queue("demo").add("a")
        async with asyncio.timeout(5):
            while not (workers := await app.workers()):  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)

        assert await app.queues() == ["demo"]
        assert [(worker.name, worker.queues) for worker in workers] == [("w1", ("demo",))]


def test_blocking_code_adds_jobs_and_waits_for_them(tmp_path: Path) -> None:
    app = Toril(f"sqlite:///{tmp_path}/jobs.db")

    @app.task
    def double(number: int) -> int:
        return number * 2

    job = double.enqueue_sync(21)
    other = app.queue("default").add_sync("double", {"number": 4})
    sync.run(app.worker().run_until_idle())

    assert [sync.run(job.result(timeout=5)), sync.run(other.result(timeout=5))] == [42, 8]
    sync.run(app.close())


def test_many_threads_add_at_once(tmp_path: Path) -> None:
    app = Toril(f"sqlite:///{tmp_path}/jobs.db")
    queue = app.queue("a")

    def work() -> None:
        for _ in range(25):
            queue.add_sync("b")

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sync.run(queue.counts()).waiting == 200
    sync.run(app.close())


async def test_blocking_calls_are_refused_on_a_loops_thread(app: Toril) -> None:
    with pytest.raises(TorilError, match="await the async form"):
        app.queue("a").add_sync("b")


def test_one_app_serves_one_loop_after_the_other(tmp_path: Path) -> None:
    app = Toril(f"sqlite:///{tmp_path}/jobs.db")

    async def add() -> int:
        await app.queue("a").add("b")
        return (await app.queue("a").counts()).waiting

    assert [asyncio.run(add()), asyncio.run(add())] == [1, 2]
    asyncio.run(app.close())


def test_public_names_come_from_toril_in_order() -> None:
    assert toril.__all__ == sorted(toril.__all__)
    assert {getattr(toril, name).__module__ for name in toril.__all__} == {"toril"}


async def test_two_prefixes_do_not_see_each_others_jobs(tmp_path: Path) -> None:
    one = Toril(f"sqlite:///{tmp_path}/jobs.db")
    other = Toril(f"sqlite:///{tmp_path}/jobs.db", prefix="flash-cards")

    async with one, other:
        await one.queue("mail").add("welcome")

        assert (await one.queue("mail").counts()).waiting == 1
        assert (await other.queue("mail").counts()).waiting == 0


def test_a_prefix_that_cannot_be_one_is_refused() -> None:
    with pytest.raises(ConfigError, match="prefix='a/b'"):
        Toril(":memory:", prefix="a/b")


def test_the_code_overrules_the_environment_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(environment, "_said", set[str]())
    monkeypatch.setenv("TORIL_URL", "redis://me:secret@elsewhere:6379/0")
    monkeypatch.setenv("TORIL_PREFIX", "theirs")

    app = Toril(":memory:", prefix="ours")
    Toril(":memory:", prefix="ours")

    assert (app.url, app.prefix) == (":memory:", "ours")
    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 2
    assert "TORIL_URL=redis://***@elsewhere:6379/0 is not used" in lines[0]
    assert "TORIL_PREFIX=theirs is not used" in lines[1]
    assert "secret" not in caplog.text


def test_the_same_place_in_code_and_environment_is_no_news(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("TORIL_URL", ":memory:")

    assert Toril(":memory:").url == Toril().url == ":memory:"
    assert not caplog.records


async def test_an_app_that_was_moved_uses_the_other_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(environment, "_moved", {})
    before, after = tmp_path / "before.db", tmp_path / "after.db"
    app = Toril(str(before))
    queue = app.queue("q", rate="10/1s")
    app.move_to(f"sqlite:///{after}")
    async with app:
        await queue.add("x")

    assert after.exists()
    assert not before.exists()
    # As its code makes it again in a child process.
    assert Toril(str(before)).url == f"sqlite:///{after}"
    assert Toril(":memory:").url == ":memory:"


async def test_one_job_of_a_queue_runs_at_once_unless_said_otherwise() -> None:
    async with Toril(":memory:") as app:
        app.queue("b").handler("x")(lambda job: None)
        assert app.worker().shares == {"b": 1}
        assert app.worker("a", lambda job: None).shares == {"a": 1}
        assert app.worker("a", lambda job: None, concurrency=3).shares == {"a": 3}


def test_a_function_from_elsewhere_becomes_a_task_with_options() -> None:
    app = Toril("sqlite://:memory:")

    async def resize(x: int) -> int:
        return x

    task = app.task(queue="images", attempts=2)(resize)
    other = app.task(resize, queue="images", name="other", attempts=4)

    assert (task.queue, task.name, task.options) == ("images", "resize", {"attempts": 2})
    assert (other.queue, other.name, other.options) == ("images", "other", {"attempts": 4})
    with pytest.raises(ConfigError, match="a task has no 'countdown'; use delay=\"10s\""):
        app.task(resize, countdown=10)  # type: ignore[call-overload]
