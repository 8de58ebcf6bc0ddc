"""The program of the producers that are killed: `python -m tests.robustness.chaos.producer FILE LEDGER`.

It adds batches and flows without end, and notes each one when it has been acknowledged.
"""

import asyncio
import os
import sys
from itertools import count
from pathlib import Path

from tests.robustness.chaos.app import JOBS, PARENTS, make_app
from tests.robustness.chaos.ledger import Ledger
from toril import Toril

SIZE = 30
WIDTH = 4


async def add_batches(app: Toril, ledger: Ledger) -> None:
    for number in count():
        name = f"batch-{os.getpid()}-{number}"
        batch = [("n", {"ms": 0}, {"id": f"{name}-{n}"}) for n in range(SIZE)]
        await app.queue(JOBS).add_many(batch)
        ledger.note("batch", name)


async def add_flows(app: Toril, ledger: Ledger) -> None:
    for number in count():
        name = f"flow-{os.getpid()}-{number}"
        children = [(JOBS, "child", {"ms": 0}, {"id": f"{name}-{n}"}) for n in range(WIDTH)]
        await app.flow(PARENTS, "gather", {"ms": 0}, id=name, children=children).add()
        ledger.note("flow", name)


async def main(path: Path, ledger: Ledger) -> None:
    async with make_app(path) as app:
        await app.queue(JOBS).counts()
        sys.stdout.write("up\n")
        sys.stdout.flush()
        await asyncio.gather(add_batches(app, ledger), add_flows(app, ledger))


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Ledger(Path(sys.argv[2]))))
