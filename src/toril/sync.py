"""toril from code that blocks: Flask views, scripts, `def` handlers.

Every `await x` of toril has a blocking twin, `sync.run(x)`: it runs on one background loop that
the process shares, and blocks the calling thread until it is done. `task.enqueue_sync(...)` and
`queue.add_sync(...)` are short for it. On a thread that runs an event loop it refuses, because
the loop would stand still: await there.

    job = thumbnail.enqueue_sync("cat.jpg")
    path = sync.run(job.result(timeout=30))

What is iterated over with `async for` has a blocking twin, too:

    for job in sync.iterate(queue.jobs("failed")):
        print(job.id)
"""

from toril._jobs.background_loop import iterate, run

__all__ = ["iterate", "run"]
