"""The shop with its workers and its dashboard in one process: `python -m tests.browser.site`.

It prints one line when its jobs have run, and ends with its standard input. A line `mend` there
ends the outage of the mail server.
"""

import asyncio
import sys

import uvicorn
from starlette.requests import Request

from tests.browser.shop import Shop
from toril.dashboard import Access, Dashboard

# Who is asking, as a proxy in front of it would say.
USER = "x-user"


async def who(request: Request) -> Access:
    """Return a viewer if the request says so, else an administrator."""
    name = request.headers.get(USER, "ann")
    return Access(user=name, permissions="viewer" if name == "eve" else "admin")


async def main(url: str, prefix: str, port: int) -> None:
    """Run until the standard input ends."""
    shop = Shop(url, prefix)
    async with shop.app:
        await shop.fill()
        workers = shop.workers()
        for worker in workers:
            await worker.start()
        for worker in workers:
            await worker.drained()
        board = Dashboard(shop.app, auth=who, environment="testing")
        server = uvicorn.Server(
            uvicorn.Config(board, port=port, log_level="error", timeout_graceful_shutdown=1)
        )
        serving = asyncio.ensure_future(server.serve())
        while not server.started:  # noqa: ASYNC110 (uvicorn has no event for it)
            await asyncio.sleep(0.02)
        print("ready", flush=True)  # noqa: T201
        while line := await asyncio.to_thread(sys.stdin.readline):
            if line.strip() == "mend":
                shop.mended.set()
        server.should_exit = True
        await serving
        for worker in workers:
            await worker.stop(grace=0)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3])))
