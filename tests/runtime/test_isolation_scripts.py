"""Handlers that a script defines: found again in a child, which must not do what the script does."""

import asyncio
import signal
import sys
import zipapp
from pathlib import Path

import pytest

from toril import Toril

SCRIPT = """
import asyncio, os
from toril import Toril

app = Toril("sqlite:///{db}")

@app.task(isolation="process")
def where(times: int = 1) -> int:
    return os.getpid() * times

async def main() -> None:
    job = await where.enqueue()
    async with app.worker():
        pid = await job.result(timeout=10)
    print("elsewhere" if pid != os.getpid() else "here")
    await app.close()

"""


GUARD = """
if __name__ == "__main__":
    asyncio.run(main())
"""


@pytest.mark.parametrize("command", [["script.py"], ["-m", "script"], ["folder"], ["archive.pyz"]])
async def test_what_a_script_defines_is_found_in_the_child(
    tmp_path: Path, command: list[str]
) -> None:
    text = SCRIPT.format(db=tmp_path / "jobs.db") + GUARD
    (tmp_path / "folder").mkdir()
    for place in ("script.py", "folder/__main__.py"):
        (tmp_path / place).write_text(text)
    zipapp.create_archive(tmp_path / "folder", tmp_path / "archive.pyz")
    out, err = await _script(tmp_path, command)

    assert (out, "Error" in err) == ("elsewhere\n", False)


async def test_what_is_in_no_file_is_refused_where_it_is_written(tmp_path: Path) -> None:
    text = SCRIPT.format(db=tmp_path / "jobs.db") + GUARD
    _, err = await _script(tmp_path, ["-"], text)

    assert 'isolation="process": where was typed in, not read from a file' in err


async def test_a_script_that_starts_its_worker_unguarded_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        SCRIPT.format(db=tmp_path / "jobs.db") + "asyncio.run(main())\n"
    )
    _, err = await _script(tmp_path, ["script.py"])

    assert "put what the script does under: if __name__ ==" in err


async def test_a_child_does_not_add_again_what_an_unguarded_script_adds(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'jobs.db'}"
    (tmp_path / "script.py").write_text(
        SCRIPT.format(db=tmp_path / "jobs.db") + "asyncio.run(main())\n"
    )
    await _script(tmp_path, ["script.py"])

    async with Toril(url) as app:
        counts = await app.queue("default").counts()
    assert (counts.failed, counts.waiting) == (1, 0)


async def test_a_file_that_is_named_as_a_module_of_python_is_no_obstacle(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise AssertionError('taken for the module of Python')")
    (tmp_path / "script.py").write_text(SCRIPT.format(db=tmp_path / "jobs.db") + GUARD)

    # As the `toril` command does, whose own folder stands first in the path.
    out, err = await _script(tmp_path, ["-P", "script.py"])

    assert (out, err) == ("elsewhere\n", "")


OPTIONS = """
import asyncio, sys
from toril import Toril

app = Toril("sqlite:///{db}")

@app.task(isolation="process")
def options() -> list[int]:
    return [sys.flags.optimize, sys.flags.utf8_mode]

async def main() -> None:
    async with app, app.worker():
        print(await (await options.enqueue()).result(timeout=10))
"""


async def test_a_child_has_the_options_of_its_interpreter(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(OPTIONS.format(db=tmp_path / "jobs.db") + GUARD)
    out, _ = await _script(tmp_path, ["-O", "-X", "utf8", "script.py"])

    assert out == "[1, 1]\n"


STUBBORN = """
import asyncio, sys, time
from toril import Toril

app = Toril("sqlite:///{db}")

@app.task(isolation="process")
def endless() -> None:
    print("begun", flush=True)
    time.sleep(60)

@app.task(queue="other")
async def elsewhere() -> None:
    await asyncio.sleep(60)

async def main() -> None:
    await endless.enqueue()
    worker = app.worker(queues=["default"], grace="30s")
    worker.on("closing")(lambda: print("closing", file=sys.stderr, flush=True))
    async with app, app.worker(queues=["other"], grace="30s"):
        await elsewhere.enqueue()
        await worker.run()
"""


@pytest.mark.skipif(sys.platform == "win32", reason="sends signals")
async def test_a_second_interrupt_puts_back_what_children_run(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(STUBBORN.format(db=tmp_path / "jobs.db") + GUARD)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-u", "script.py", cwd=tmp_path, stderr=-1
    )
    assert process.stderr is not None
    try:
        async with asyncio.timeout(15):
            await process.stderr.readuntil(b"begun")
            process.send_signal(signal.SIGINT)
            await process.stderr.readuntil(b"closing")
            process.send_signal(signal.SIGINT)
            await process.stderr.read()
            assert await process.wait() == -signal.SIGINT
    finally:
        if process.returncode is None:
            process.kill()
    async with Toril(f"sqlite:///{tmp_path / 'jobs.db'}", warn_unserved=False) as app:
        for queue in ("default", "other"):
            [job] = [job async for job in app.queue(queue).jobs("waiting")]
            assert job.attempt == 1


FORKING = """
import asyncio, os, sys
from toril import Toril

app = Toril("sqlite:///{db}")

@app.task
def fork() -> int:
    if os.fork() == 0:
        sys.exit(7)
    return os.waitstatus_to_exitcode(os.wait()[1])

async def main() -> None:
    async with app, app.worker():
        print(await (await fork.enqueue()).result(timeout=10))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="forks")
async def test_a_process_that_is_forked_in_a_thread_does_not_run_on_as_a_worker(
    tmp_path: Path,
) -> None:
    (tmp_path / "script.py").write_text(FORKING.format(db=tmp_path / "jobs.db") + GUARD)
    out, _ = await _script(tmp_path, ["script.py"])

    assert out == "7\n"


ADDING = """
import asyncio, os
from toril import Toril

app = Toril("sqlite:///{db}")

@app.task(isolation="process")
def first() -> str:
    return second.enqueue_sync(os.getpid()).id

@app.task(isolation="process")
async def also_first() -> str:
    return (await second.enqueue(os.getpid())).id

@app.task
async def second(pid: int) -> bool:
    return pid != os.getpid()

async def main() -> None:
    async with app, app.worker():
        for task in (first, also_first):
            added = await (await task.enqueue()).result(timeout=10)
            print(await (await app.queue("default").job(added)).result(timeout=10))

if __name__ == "__main__":
    asyncio.run(main())
"""


async def test_code_in_a_child_adds_jobs_through_its_own_app(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(ADDING.format(db=tmp_path / "jobs.db"))

    assert await _script(tmp_path, ["script.py"]) == ("True\nTrue\n", "")


async def _script(folder: Path, command: list[str], typed: str = "") -> tuple[str, str]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, *command, cwd=folder, stdin=-1, stdout=-1, stderr=-1
    )
    try:
        out, err = await asyncio.wait_for(process.communicate(typed.encode()), 15)
    finally:
        if process.returncode is None:
            process.kill()
    return out.decode(), err.decode()
