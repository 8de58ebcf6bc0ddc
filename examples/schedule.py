"""Jobs that schedules make: a look at the next runs of a cron rule, and a rule that ends.

Prints:

    every night at 2:30 in Berlin:
      …-…-… 02:30, that is 0…:30 UTC
      …-…-… 02:30, that is 0…:30 UTC
      …-…-… 02:30, that is 0…:30 UTC
    tick 1
    tick 2
    tick 3
    no run is left
"""

import asyncio
from itertools import count
from zoneinfo import ZoneInfo

from toril import Toril

app = Toril(":memory:")
numbers = count(1)


@app.task
async def backup() -> None: ...


@app.task
async def tick() -> None:
    print(f"tick {next(numbers)}")


async def main() -> None:
    nightly = app.schedules.make("nightly", task=backup, cron="30 2 * * *", tz="Europe/Berlin")
    print("every night at 2:30 in Berlin:")
    for at in nightly.preview(3):
        there = at.astimezone(ZoneInfo("Europe/Berlin"))
        print(f"  {there:%Y-%m-%d %H:%M}, that is {at:%H:%M} UTC")

    async with app:
        await app.schedules.put("ticking", task=tick, every="300ms", limit=3)
        await app.worker().run_until_idle(delayed=True)
    print("no run is left")


if __name__ == "__main__":
    asyncio.run(main())
