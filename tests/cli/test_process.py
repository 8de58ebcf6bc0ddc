"""A worker process as its supervisor sees it."""

import asyncio
import os
import signal
import sys

import pytest

from toril._serve.process import kill_now

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="sends signals")


async def test_how_a_process_ended_is_known_though_it_is_killed_when_it_just_has() -> None:
    codes: list[int] = []
    for _ in range(15):
        ending = [await asyncio.create_subprocess_exec("sleep", "60") for _ in range(20)]
        for process in ending:
            os.kill(process.pid, signal.SIGTERM)
        for process in 3 * ending:
            kill_now(process)
        codes += [await process.wait() for process in ending]

    assert set(codes) <= {-signal.SIGTERM, -signal.SIGKILL}
