"""A worker of toril in a process of its own, to be killed: `python -m tests.interop.victim ...`."""

import asyncio
import json
import sys

from tests.interop.toril_side import TorilSide


async def main(url: str, prefix: str, queue: str, options: str) -> None:
    """Work until killed; say "up" once jobs are claimed."""
    side = TorilSide(url, prefix)
    await side.work(queue, "victim", **json.loads(options))
    sys.stdout.write("up\n")
    sys.stdout.flush()
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
