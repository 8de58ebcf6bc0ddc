"""Handlers in child processes: found again there, reused, and with a job that works."""

import os
import sys
from datetime import date
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.runtime import isolated
from tests.support.workers import Heard
from toril import ConfigError, Job, JobFailed, Toril, current_job
from toril._handlers.isolation_options import take_isolation
from toril._isolation import memory as process_memory
from toril._isolation import output, pool

PATH = "tests.runtime.isolated"
NO_MIAN = "module 'json.tool' has no 'mian' (did you mean 'main'?)"


async def one(app: Toril, path: str, data: object = None, **options: Any) -> Any:
    """Run one job in a child, and give its result."""
    app.processor("q", f"{PATH}:{path}", **options)
    job = await app.queue("q").add("x", data)
    async with app.worker("q"):
        return await job.result(timeout=10)


async def test_listeners_get_the_result_as_its_annotation_says(memory: Toril) -> None:
    task = memory.task(isolation="process")(isolated.tomorrow)
    job = await task.enqueue(date(2026, 1, 31))
    worker = memory.worker()
    heard = Heard(worker, "completed")
    async with worker:
        await job.result(timeout=10)
        (_, value) = await heard.until("completed")

    assert value == date(2026, 2, 1)


# Where it runs.


async def test_a_task_runs_in_another_process_with_its_own_arguments(anywhere: Toril) -> None:
    add = anywhere.task(isolation="process")(isolated.add)
    job = await add.enqueue(40, second=2)
    async with anywhere.worker():
        found, pid = await job.result(timeout=10)

    assert found == 42
    assert pid != os.getpid()


async def test_a_coroutine_function_runs_on_a_loop_of_the_child(memory: Toril) -> None:
    task = memory.task(isolation="process")(isolated.on_a_loop)
    job = await task.enqueue(7)
    async with memory.worker():
        number, pid, attempt, current = await job.result(timeout=10)

    assert (number, attempt, current) == (7, 1, True)
    assert pid != os.getpid()


async def test_a_child_is_reused_and_its_module_imported_once(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:count_runs")
    jobs = await memory.queue("q").add_many([("x", None)] * 3)
    async with memory.worker("q", concurrency=1):
        counted = [await job.result(timeout=10) for job in jobs]

    assert counted == [1, 2, 3]


async def test_a_child_runs_one_job_at_a_time_and_there_are_as_many_as_jobs(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:nap", concurrency=2)
    jobs = await memory.queue("q").add_many([("x", None)] * 6)
    async with memory.worker("q", concurrency=4):
        naps = [await job.result(timeout=10) for job in jobs]

    by_child: dict[int, list[tuple[float, float]]] = {}
    for pid, began, ended in naps:
        by_child.setdefault(pid, []).append((began, ended))
    assert len(by_child) == 2
    for times in by_child.values():
        ordered = sorted(times)
        assert all(one[1] <= two[0] for one, two in pairwise(ordered))


async def test_a_worker_has_no_more_processes_than_it_may(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:where", name="one")
    memory.processor("q", f"{PATH}:nap", name="two")
    jobs = await memory.queue("q").add_many([("one", None), ("two", None)] * 3)
    before = set(_children())
    async with memory.worker("q", concurrency=4, processes=1) as worker:
        await worker.drained()
        alive = set(_children()) - before

    assert {await job.state() for job in jobs} == {"completed"}
    assert len(alive) <= 2  # one at work, and perhaps one on its way out


async def test_loops_threads_and_processes_work_side_by_side(memory: Toril) -> None:
    @memory.task
    async def on_the_loop() -> int:
        return os.getpid()

    @memory.task
    def in_a_thread() -> int:
        current_job().log("here")
        return os.getpid()

    add = memory.task(isolation="process")(isolated.add)
    async with memory.worker(concurrency=3):
        here = await (await on_the_loop.enqueue()).result(timeout=10)
        there = await (await in_a_thread.enqueue()).result(timeout=10)
        _, elsewhere = await (await add.enqueue(1)).result(timeout=10)

    assert here == there == os.getpid() != elsewhere


async def test_a_worker_takes_one_function_by_its_path(memory: Toril) -> None:
    job = await memory.queue("q").add("whatever")
    async with memory.worker("q", f"{PATH}:where"):
        assert await job.result(timeout=10) != os.getpid()


async def test_a_queue_has_several_processors_by_path(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:where", name="one", concurrency=1)
    memory.processor("q", f"{PATH}:count_runs", name="two", concurrency=1)
    one, two = await memory.queue("q").add_many([("one", None), ("two", None)])
    async with memory.worker("q", concurrency=2):
        assert await one.result(timeout=10) != os.getpid()
        assert await two.result(timeout=10) == 1


async def test_a_child_is_replaced_after_so_many_jobs(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:where", recycle_after=2)
    jobs = await memory.queue("q").add_many([("x", None)] * 4)
    async with memory.worker("q", concurrency=1):
        pids = [await job.result(timeout=10) for job in jobs]

    assert pids[0] == pids[1] != pids[2] == pids[3]


# What its job can do.


async def test_progress_and_log_arrive_without_being_awaited(anywhere: Toril) -> None:
    anywhere.processor("q", f"{PATH}:report")
    job = await anywhere.queue("q").add("x")
    worker = anywhere.worker("q")
    heard = Heard(worker, "progress")
    async with worker:
        await job.result(timeout=10)

    assert (await job.logs()).lines == ("half way", "the rest")
    assert (await job.refresh()).last_progress == {"percent": 50}
    assert [value for _, _, value in heard.all] == [{"percent": 50}]


async def test_what_is_awaited_is_answered(anywhere: Toril) -> None:
    anywhere.processor("q", f"{PATH}:report_and_wait")
    job = await anywhere.queue("q").add("x", {"changed": False})
    async with anywhere.worker("q"):
        assert await job.result(timeout=10) == [1, {"changed": True}, 99, ["one"]]
    assert (await job.refresh()).data == {"changed": True}


async def test_blocking_code_may_wait_for_an_answer(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:update_without_a_loop")
    job = await memory.queue("q").add("x", {})
    worker = memory.worker("q")
    heard = Heard(worker, "completed")
    async with worker:
        await job.result(timeout=10)
        (told, _) = await heard.until("completed")

    assert told.data == {"from": "a thread"}


async def test_a_parent_reads_its_children(anywhere: Toril) -> None:
    anywhere.processor("q", f"{PATH}:parent", name="parent")

    @anywhere.queue("q").handler("child")
    async def child(job: Job[Any]) -> Any:
        return job.data

    tree = await anywhere.flow("q", "parent", children=[("q", "child", 1), ("q", "child", 2)]).add()
    async with anywhere.worker("q"):
        found = await tree.job.result(timeout=10)

    assert (sorted(found["values"]), found["completed"]) == ([1, 2], 2)


async def test_what_a_job_in_a_child_cannot_do_is_said(memory: Toril) -> None:
    with pytest.raises(JobFailed, match=r"a job in a child process has no '\w+' of its own"):
        await one(memory, "ask_too_much")


@pytest.mark.parametrize(
    ("how", "state", "runs", "attempts"),
    [("snooze", "completed", 2, 1), ("release", "completed", 2, 1), ("fail", "failed", 1, 1)],
)
async def test_signals_pass_the_pipe(
    anywhere: Toril, how: str, state: str, runs: int, attempts: int
) -> None:
    anywhere.processor("q", f"{PATH}:signal_of")
    job = await anywhere.queue("q").add("x", how, attempts=3)
    await anywhere.worker("q").run_until_idle(delayed=True)

    record = (await job.refresh()).record
    assert (record.state, record.runs, record.attempts_made) == (state, runs, attempts)
    if how == "fail":
        assert record.reason == "not again"


async def test_an_error_has_its_text_and_stack_and_the_job_is_tried_again(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:signal_of")
    job = await memory.queue("q").add("x", "raise", attempts=2)
    await memory.worker("q").run_until_idle()

    await job.refresh()
    assert (job.error, job.attempts_made) == ("nothing there", 2)
    assert "isolated.py" in job.stack[0]
    assert 'raise LookupError("nothing there")' in job.stack[0]
    frames = [line for line in job.stack[0].splitlines() if line.lstrip().startswith('File "')]
    assert all("isolated.py" in frame for frame in frames), frames


async def test_what_a_child_prints_is_passed_on_with_the_job(
    memory: Toril, capfd: pytest.CaptureFixture[str]
) -> None:
    memory.processor("q", f"{PATH}:talk")
    first, second = await memory.queue("q").add_many([("x", None)] * 2)
    await memory.worker("q").run_until_idle()

    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[q:")]
    for job in (first, second):
        mine = [line for line in lines if line.startswith(f"[q:{job.id}]")]
        assert mine == [
            f"[q:{job.id}] from print {job.id}",
            f"[q:{job.id}] no end of line",
            f"[q:{job.id}] raw",
        ]


async def test_what_a_child_prints_is_bounded(
    memory: Toril, capfd: pytest.CaptureFixture[str]
) -> None:
    await one(memory, "talk_without_end")

    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[q:")]
    assert len(lines) == output.MAX_LINES + 1
    assert lines[-1].endswith("… what it prints from here on is omitted")


# What it depends on.


async def test_a_container_is_made_once_a_child(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:Reader", init=f"{PATH}:cards")
    jobs = await memory.queue("q").add_many([("read", None), ("read", None), ("pid", None)])
    async with memory.worker("q"):
        *read, pid = [await job.result(timeout=10) for job in jobs]

    assert read == ["made 1 times", "made 1 times"]
    assert pid != os.getpid()


async def test_a_container_may_be_made_on_a_loop(memory: Toril) -> None:
    memory.processor("q", f"{PATH}:Reader", init=f"{PATH}:cards_later")
    job = await memory.queue("q").add("read")
    async with memory.worker("q"):
        assert await job.result(timeout=10) == "made on a loop"


async def test_a_registered_class_gets_what_its_app_provides_in_the_child() -> None:
    app = Toril(":memory:")
    app.processor("classes", isolation="process")(isolated.Reader)
    async with app:
        job = await app.queue("classes").add("pid")
        async with app.worker():
            with pytest.raises(JobFailed, match="nothing provides parameter 'card'"):
                await job.result(timeout=10)

    async with isolated.app as theirs:
        job = await theirs.queue("classes").add("x")
        async with theirs.worker("classes"):
            assert await job.result(timeout=10) == "provided by the app"


# What cannot be started.


@pytest.mark.parametrize(
    ("path", "options", "reason"),
    [
        ("json.tool:nothing", {}, "ConfigError: json.tool:nothing is not there: module"),
        ("json.tool:mian", {}, f"ConfigError: json.tool:mian is not there: {NO_MIAN}"),
        ("tests.runtime.nowhere:x", {}, "ModuleNotFoundError: No module named 'tests.runtime.now"),
        (f"{PATH}:where", {"init": f"{PATH}:fail_to_make"}, "ConnectionError: no database"),
        (f"{PATH}:where", {"init": f"{PATH}:nonsense"}, "ConfigError: init="),
    ],
)
async def test_a_child_that_cannot_start_fails_the_job_with_its_error(
    memory: Toril, path: str, options: dict[str, Any], reason: str
) -> None:
    memory.processor("q", path, **options)
    job = await memory.queue("q").add("x")
    async with memory.worker("q"):
        with pytest.raises(JobFailed) as caught:
            await job.result(timeout=10)

    assert f"could not start: {reason}" in str(caught.value)


async def test_what_cannot_start_is_not_tried_in_a_hot_loop(
    memory: Toril, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    starts = tmp_path / "starts"
    module = tmp_path / "broken_module.py"
    module.write_text(f"open({str(starts)!r}, 'a').write('x')\nraise ImportError('half done')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pool, "FIRST_PAUSE_S", 60.0)
    memory.processor("q", "broken_module:run")
    first = await memory.queue("q").add("x")
    others = await memory.queue("q").add_many([("x", None)] * 5)
    worker = memory.worker("q", concurrency=1)
    async with worker:
        with pytest.raises(JobFailed, match="could not start: ImportError: half done"):
            await first.result(timeout=10)
        await worker.stop(grace="300ms")

    assert starts.read_text() == "x"
    assert {await job.state() for job in others} == {"waiting"}


async def test_a_child_tries_again_once_it_can_start(
    memory: Toril, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = tmp_path / "mended_module.py"
    module.write_text("raise ImportError('half done')\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(pool, "FIRST_PAUSE_S", 0.05)
    memory.processor("q", "mended_module:run")
    first = await memory.queue("q").add("x")
    async with memory.worker("q"):
        with pytest.raises(JobFailed):
            await first.result(timeout=10)
        module.write_text("def run(job):\n    return 'mended, at last'\n")
        second = await memory.queue("q").add("x")
        assert await second.result(timeout=10) == "mended, at last"


async def test_a_child_does_not_open_a_store_in_memory(memory: Toril) -> None:
    with pytest.raises(JobFailed, match="cannot reach a store in the memory of its worker"):
        await one(memory, "use_own_store")


# What is refused where it is written.


def _closure() -> Any:
    def inner(job: Job[Any]) -> None: ...

    return inner


class _Object:
    def method(self, job: Job[Any]) -> None: ...


@pytest.mark.parametrize(
    ("function", "problem"),
    [
        (lambda job: None, "is a lambda, which no other process can import"),
        (_closure(), "_closure.inner is defined inside a function (put it at the top level"),
        (_Object().method, "is an object, not a function of a module"),
    ],
    ids=["lambda", "closure", "method"],
)
def test_what_no_child_could_import_is_refused(function: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Toril(":memory:").queue("q").handler(isolation="process")(function)

    assert problem in str(caught.value)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"isolation": "thread"}, "isolation='thread' is not known"),
        ({"max_rss": "1GB"}, '(add isolation="process")'),
        ({"isolation": "process", "max_rss": "much"}, "max_rss='much' is no size of memory"),
        ({"isolation": "process", "max_rss": 0}, "max_rss=0 is no size of memory"),
        ({"isolation": "process", "recycle_after": 0}, "recycle_after=0 must be a number of jobs"),
        ({"isolation": "process", "init": "app"}, "init='app' names nothing"),
    ],
)
def test_options_that_cannot_hold_are_refused(options: Any, problem: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Toril(":memory:").task(**options)(isolated.add)

    assert problem in str(caught.value)


@pytest.mark.parametrize("path", ["app", "app.py:run", "./app:run", "app:", ":run", "app:1"])
def test_a_path_that_is_none_is_refused(path: str) -> None:
    with pytest.raises(ConfigError, match=r'write "package\.module:function"'):
        Toril(":memory:").processor("q", path)


@pytest.mark.parametrize(
    ("given", "size"), [(5_000_000, 5_000_000), ("200MB", 200_000_000), ("1.5 GiB", 1_610_612_736)]
)
def test_sizes_are_bytes_or_text(given: Any, size: int) -> None:
    found = take_isolation({"isolation": "process", "max_rss": given}, isolated.where)

    assert found is not None
    assert found.max_rss == size


async def test_a_name_that_its_module_has_lost_is_refused_at_the_start(memory: Toril) -> None:
    def lost() -> None: ...

    lost.__qualname__, lost.__module__ = "lost", PATH
    memory.task(isolation="process")(lost)
    with pytest.raises(ConfigError, match=f"{PATH}:lost is not there"):
        await memory.worker().start()


def _children() -> list[int]:
    return [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux tells it as it is now")
def test_what_a_process_uses_is_read_anew_each_time() -> None:
    before = process_memory.own() or 0
    taken = b"x" * 64_000_000

    assert (process_memory.own() or 0) > before + 32_000_000
    del taken
