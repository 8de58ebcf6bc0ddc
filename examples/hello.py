"""Add one job and run it; `toril worker examples/hello.py` would run it in another process.

Prints:

    Hello, Ada!
"""

import asyncio

from toril import Toril

app = Toril()


@app.task
async def greet(name: str) -> str:
    return f"Hello, {name}!"


async def main() -> None:
    async with app, app.worker():
        job = await greet.enqueue("Ada")
        print(await job.result(timeout=10))


if __name__ == "__main__":
    asyncio.run(main())
