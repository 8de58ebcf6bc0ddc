"""What fails is tried again, later each time; what fails for good goes to a dead-letter queue.

Prints:

    order 7, attempt 1: the bank does not answer
    order 7, attempt 2: the bank does not answer
    order 7, attempt 3: paid
    order 8, attempt 1: the card is stolen
    order 8 failed for good: the card is stolen
    in payments-dead: {'order': 8}
"""

import asyncio

from toril import Exponential, Fail, Job, JobFailed, Toril

app = Toril(":memory:")
app.queue("payments", dead_letter="payments-dead")


@app.task(queue="payments", attempts=5, backoff=Exponential("100ms"))
async def charge(job: Job[str], order: int) -> str:
    if order == 8:
        raise Fail("the card is stolen")  # no attempt will change that
    if job.attempt < 3:
        raise ConnectionError("the bank does not answer")
    return f"order {order}, attempt {job.attempt}: paid"


worker = app.worker()


@worker.on("attempt_failed")
def tell(job: Job[str], error: BaseException) -> None:
    print(f"order {job.data['order']}, attempt {job.attempt}: {error}")


async def main() -> None:
    async with app, worker:
        paid = await charge.enqueue(7)
        print(await paid.result(timeout=10))

        stolen = await charge.enqueue(8)
        try:
            await stolen.result(timeout=10)
        except JobFailed as error:
            print(f"order 8 failed for good: {error.reason}")

        async for dead in app.queue("payments-dead").jobs():
            print(f"in {dead.queue}: {dead.data['originalJob']['data']}")


if __name__ == "__main__":
    asyncio.run(main())
