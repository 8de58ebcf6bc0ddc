"""A worker in the process of a real web server: what the first signal does, and the second."""

import asyncio
import os
import signal
import sys
import time
from pathlib import Path

import pytest

from toril import Toril

ROOT = Path(__file__).parents[2]
SERVERS = {"uvicorn": ["uvicorn", "--port=0", "--log-level=warning", "tests.runtime.web:app"]}


@pytest.mark.skipif(os.name == "nt", reason="sends POSIX signals")
@pytest.mark.parametrize(
    ("store", "first", "second"),
    [("file", "SIGINT", "SIGINT"), ("file", "SIGTERM", "SIGTERM"), ("redis", "SIGTERM", "SIGINT")],
)
async def test_a_second_signal_puts_back_what_runs(
    store: str, first: str, second: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    url = f"sqlite:///{tmp_path}/jobs.db"
    environment = {**os.environ, "JOBS": url}
    if store == "redis":
        url, environment["TORIL_PREFIX"] = map(
            request.getfixturevalue, ("redis_url", "redis_prefix")
        )
        environment["JOBS"] = url
    server = await asyncio.create_subprocess_exec(
        sys.executable, "-m", *SERVERS["uvicorn"],
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env=environment, cwd=ROOT,
    )  # fmt: skip
    try:
        assert server.stdout is not None
        assert server.stderr is not None
        async with asyncio.timeout(30):
            line = await server.stdout.readline()
            assert line == b"working\n", (await server.stderr.read())[-400:].decode()
            server.send_signal(signal.Signals[first])
            assert await server.stdout.readline() == b"stopping\n"
        # The server has heard the first, and waits for the job.
        await asyncio.sleep(1.5)
        assert server.returncode is None
        server.send_signal(signal.Signals[second])
        began = time.monotonic()
        async with asyncio.timeout(10):
            await server.wait()
        assert time.monotonic() - began < 4
    finally:
        if server.returncode is None:
            server.kill()
        await server.wait()
    async with Toril(url, prefix=environment.get("TORIL_PREFIX")) as app:
        counts = await app.queue("q").counts()
        assert (counts.waiting, counts.active) == (1, 0)
