"""Signals to a program that has a worker: code of the user never swallows what they raise."""

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

START = """
    import asyncio, os, signal, sys, time
    from toril import Toril

    app = Toril(":memory:")

    async def work(job):
        return "done"

    worker = app.worker("q", work)

    @worker.on("completed")
    def listener(job, result):
        sys.stdout.write("listening\\n")
        sys.stdout.flush()
        until = time.monotonic() + 20
        while time.monotonic() < until:
            pass
        os._exit(99)

    async def main():
        async with app:
            await app.queue("q").add("x")
            await worker.run()
"""
# How a program runs its loop, the signal, and what the program ends with.
PROGRAMS = {
    "handler of its own": (
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(7))\nasyncio.run(main())",
        signal.SIGTERM,
        7,
    ),
    "python's handler": (
        "asyncio.new_event_loop().run_until_complete(main())",
        signal.SIGINT,
        -signal.SIGINT,
    ),
}


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize("which", PROGRAMS)
def test_what_a_signal_raises_within_a_listener_ends_the_program(
    which: str, tmp_path: Path
) -> None:
    run, number, code = PROGRAMS[which]
    script = tmp_path / "program.py"
    script.write_text(f"{textwrap.dedent(START)}\n{run}\n")
    with subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, text=True) as program:
        assert program.stdout is not None
        assert program.stdout.readline() == "listening\n"
        program.send_signal(number)
        try:
            assert program.wait(10) == code
        finally:
            program.kill()
