"""Definitions whose code runs again: notebook cells, autoreload, reloaded modules."""

import importlib
import logging
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.workers import SOON
from toril import ConfigError, Depends, Job, Toril, handles

CELLS = {
    "task": "@app.task\nasync def work(x: int = 0) -> str: return {answer!r}",
    "handler": "@app.queue('q').handler('x')\ndef work(job): return {answer!r}",
    "every name": "@app.queue('q').handler()\nasync def work(job): return {answer!r}",
    "processor": (
        "@app.processor('q', concurrency=2)\nclass Work:\n"
        "    @handles('x')\n    async def run(self, job): return {answer!r}"
    ),
    "schedule": (
        "app.schedule('tick', every='1h', queue='q', name='x', data={answer!r})\n"
        "@app.queue('q').handler('x')\nasync def work(job): return {answer!r}"
    ),
    "queue": (
        "app.queue('q', priority=len({answer!r}))\n"
        "@app.queue('q').handler('x')\nasync def work(job): return {answer!r}"
    ),
    "provided": (
        "app.provide(Word, lambda: Word({answer!r}))\n"
        "@app.queue('q').handler('x')\nasync def work(job, word: Word): return str(word)"
    ),
    "cron": "@app.task(cron='0 2 * * *')\nasync def work() -> str: return {answer!r}",
}


class Word(str):
    """A type to be provided."""

    __slots__ = ()


@pytest.mark.parametrize("shift", ["", "\n\n"], ids=["same line", "moved"])
@pytest.mark.parametrize("cell", CELLS.values(), ids=CELLS)
async def test_the_newest_definition_holds(
    memory: Toril, cell: str, shift: str, caplog: pytest.LogCaptureFixture
) -> None:
    names: dict[str, Any] = {
        "__name__": "__main__", "app": memory, "handles": handles, "Word": Word, "Job": Job,
        "Depends": Depends,
    }  # fmt: skip
    exec(cell.format(answer="first"), names)
    exec(shift + cell.format(answer="second one"), names)

    assert "app.redefined" in caplog.text
    work = names.get("work")
    is_task = hasattr(work, "enqueue")
    job = await work.enqueue() if is_task else await memory.queue("q").add("x")  # type: ignore[union-attr]
    async with memory.worker() as worker:
        assert await job.result(timeout=SOON) == "second one"
        assert worker.shares["default" if is_task else "q"] == (2 if "concurrency=2" in cell else 1)
    for schedule in memory.schedules.declared.values():
        assert schedule.node.data in ('"second one"', "{}")


def test_a_module_that_is_reloaded_defines_its_tasks_again(
    memory: Toril, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "reloaded_tasks.py"
    monkeypatch.syspath_prepend(str(tmp_path))
    body = "from builtins import the_app as app\n\n@app.task\ndef work(): return 1\n"
    file.write_text(body)
    monkeypatch.setattr("builtins.the_app", memory, raising=False)
    module = importlib.import_module("reloaded_tasks")
    file.write_text("# a line more\n\n" + body + "\n@app.task\ndef more(): return 2\n")
    importlib.reload(module)
    assert set(memory.registry.names("default")) == {"work", "more"}
    del sys.modules["reloaded_tasks"]


async def test_a_task_that_has_no_schedule_any_more_is_not_scheduled(memory: Toril) -> None:
    names: dict[str, Any] = {"__name__": "__main__", "app": memory}
    exec("@app.task(every='1h')\nasync def work(): ...", names)
    assert memory.schedules.declared
    exec("@app.task\nasync def work(): ...", names)
    assert not memory.schedules.declared


def test_two_definitions_in_one_run_are_a_mistake(
    memory: Toril, caplog: pytest.LogCaptureFixture
) -> None:
    @memory.task
    async def work() -> None: ...

    with pytest.raises(ConfigError, match="two handlers"):

        @memory.task(name="work")
        async def other() -> None: ...

    def again() -> None:
        @memory.task
        async def work() -> None: ...

    with pytest.raises(ConfigError, match="two handlers"):
        again()
    memory.queue("q", attempts=3)
    with pytest.raises(ConfigError, match="declared before"):
        memory.queue("q", attempts=4)
    memory.schedule("tick", every="1h", queue="q", name="x")
    with pytest.raises(ConfigError, match="declared twice"):
        memory.schedule("tick", every="2h", queue="q", name="x")
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


# Words of other systems.


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("countdown", "delay="), ("eta", "at="), ("autoretry_for", "attempts="), ("bind", "Job"),
        ("max_retries", "retries="), ("retry_backoff", "backoff="), ("acks_late", "leave it out"),
        ("rate", "app.queue"), ("removeOnComplete", "keep_completed="), ("jobId", "id="),
        ("repeat", "app.schedule"), ("time_limit", "timeout="), ("_defer_by", "delay="),
        ("result_ttl", "keep_completed="), ("max_tries", "attempts="),
    ],
)  # fmt: skip
async def test_a_word_of_another_system_is_translated(memory: Toril, word: str, meant: str) -> None:
    option: dict[str, Any] = {word: 5}

    async def work(x: int) -> None: ...

    with pytest.raises(ConfigError, match=meant):
        memory.task(name="refused", **option)(work)
    task = memory.task(work)
    with pytest.raises(ConfigError, match=meant):
        await task.using(**option).enqueue(1)
    with pytest.raises(TypeError, match=meant):
        await task.enqueue(1, **option)  # type: ignore[call-arg]
    with pytest.raises(ConfigError, match=meant):
        await memory.queue("q").add("x", {}, **option)
    if word != "rate":
        with pytest.raises(ConfigError, match=meant):
            memory.queue("declared", **option)
        with pytest.raises(ConfigError, match=meant):
            memory.worker("q", **option)
    with pytest.raises(ConfigError, match=meant):
        memory.queue("q").handler("x", **option)(lambda job: None)
    with pytest.raises(ConfigError, match=meant):
        Toril(":memory:", **option)


@pytest.mark.parametrize("call", ["delay", "apply_async", "send", "kiq", "s", "perform_async"])
def test_a_call_of_another_system_is_translated(memory: Toril, call: str) -> None:
    @memory.task
    async def work() -> None: ...

    with pytest.raises(AttributeError, match=r"use .*(enqueue|node)\("):
        getattr(work, call)
    with pytest.raises(AttributeError, match=r"no attribute 'nonsense'$"):
        getattr(work.using(delay=1), "nonsense")  # noqa: B009
