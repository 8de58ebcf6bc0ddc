"""A job that waits for other jobs, which wait for others: each sees what its children returned.

Prints:

    chapter 1: 203 words
    chapter 2: 403 words
    the book has 606 words
"""

import asyncio

from toril import Job, Toril

app = Toril(":memory:")


@app.task(queue="pages")
async def page(chapter: int, number: int) -> int:
    return 100 * chapter + number


@app.task(queue="chapters")
async def chapter(job: Job[int]) -> int:
    return sum((await job.children()).by_queue("pages"))


@app.task(queue="books")
async def book(job: Job[int]) -> int:
    words = (await job.children()).by_queue("chapters")  # in the order in which they were added
    for number, count in enumerate(words, 1):
        print(f"chapter {number}: {count} words")
    return sum(words)


async def main() -> None:
    chapters = [
        app.flow(chapter.node(), children=[page.node(number, 1), page.node(number, 2)])
        for number in (1, 2)
    ]
    async with app:
        flow = await app.flow(book.node(), children=chapters).add()  # all seven jobs, or none
        async with app.worker():
            print(f"the book has {await flow.job.result(timeout=10)} words")


if __name__ == "__main__":
    asyncio.run(main())
