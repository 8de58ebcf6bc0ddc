"""What the code of a handler may do in a child process: fork, log, lose its output, use up memory."""

import logging
import re
import sys
from typing import Any

import pytest

from toril import JobFailed, Toril
from toril._jobs.process_role import HERE

PATH = "tests.runtime.isolated"

needs_fork = pytest.mark.skipif(sys.platform == "win32", reason="forks")


async def one(app: Toril, path: str, data: object = None) -> Any:
    """Run one job in a child, and give its result."""
    app.processor("q", f"{PATH}:{path}")
    job = await app.queue("q").add("x", data)
    async with app.worker("q"):
        return await job.result(timeout=10)


@needs_fork
@pytest.mark.parametrize("path", ["fork", "fork_on_a_loop"])
@pytest.mark.parametrize(("how", "code"), [("return", 0), ("exit", 7), ("text", 1), ("raise", 1)])
async def test_a_process_that_a_handler_forks_does_not_run_on_as_the_child(
    anywhere: Toril, path: str, how: str, code: int
) -> None:
    assert await one(anywhere, path, how) == f"the fork ended with {code}"


@needs_fork
@pytest.mark.parametrize(("how", "said"), [("text", "no good"), ("raise", "in the fork")])
async def test_a_forked_process_says_why_it_ended(
    memory: Toril, capfd: pytest.CaptureFixture[str], how: str, said: str
) -> None:
    await one(memory, "fork", how)

    assert f"{said}\n" in capfd.readouterr().err


async def test_a_handler_that_takes_the_output_away_completes(memory: Toril) -> None:
    assert await one(memory, "lose_stdout") == "done"


async def test_running_out_of_memory_says_how_much_there_was(anywhere: Toril) -> None:
    with pytest.raises(JobFailed) as caught:
        await one(anywhere, "run_out_of_memory")

    assert re.fullmatch(r"MemoryError \(RSS \d+ MB\)", str(caught.value))


async def test_a_child_writes_the_log_lines_that_its_worker_would(
    memory: Toril, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    await one(memory, "write_to_the_log")

    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("[q:")]
    assert lines == ["[q:1] INFO     shop for information"]


async def test_a_child_of_a_worker_without_a_log_writes_no_lines_of_little_weight(
    memory: Toril, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.root, "level", logging.INFO)
    monkeypatch.setattr(logging.root, "handlers", [])
    await one(memory, "write_to_the_log")

    assert "for information" not in capfd.readouterr().err


async def test_a_child_does_not_say_again_what_its_worker_found_of_the_server(
    memory: Toril, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(HERE, "child", True)
    for tell in memory.context.store.on_notice:
        tell("store.forgets", "writes nothing to disk")
        tell("store.lost", "cannot be reached")

    assert [line.message for line in caplog.records] == ["store.lost cannot be reached"]
