"""The rate limit of a queue: so many starts in a window, whoever starts them."""

import time
from typing import Any

from tests.support.kit import SECOND, T0, Kit, complete, release
from toril._model.options import RateLimit


async def started(kit: Kit, limit: int = 50, **request: Any) -> int:
    return len((await kit.ask(limit, **request)).jobs)


async def test_a_window_lets_so_many_start(kit: Kit) -> None:
    await kit.configure(rate=(10, 2 * SECOND))
    await kit.add_many(25)

    starts: list[int] = []
    for _ in range(3):
        starts += [await started(kit), await started(kit)]
        kit.tick(2 * SECOND)

    assert starts == [10, 0, 10, 0, 5, 0]


async def test_a_limited_queue_says_until_when(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    await kit.add_many(2)
    await kit.claim()
    kit.tick(100)

    answer = await kit.ask()

    assert (answer.blocked, answer.next_ms) == ("rate", kit.about(T0 + SECOND))


async def test_the_window_begins_with_its_first_start(kit: Kit) -> None:
    await kit.configure(rate=(2, SECOND))
    await kit.add_many(4)
    await kit.claim()
    kit.tick(900)
    await kit.claim()

    kit.tick(99)
    assert await started(kit) == 0
    kit.tick(1)
    assert await started(kit) == 2


async def test_an_idle_time_does_not_open_a_window(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    kit.tick(10 * SECOND)
    await kit.add_many(2)

    assert await started(kit) == 1
    kit.tick(SECOND - 1)
    assert await started(kit) == 0


async def test_all_workers_share_the_window(kit: Kit) -> None:
    await kit.configure(rate=(3, SECOND))
    await kit.add_many(6)

    assert [await started(kit, 2), await started(kit, 2), await started(kit, 2)] == [2, 1, 0]


async def test_jobs_held_back_wait_unharmed(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    _, second = await kit.add_many(2)
    await kit.ask(2)

    assert await kit.counts() == {"active": 1, "waiting": 1}
    assert (await kit.record(second)).attempts_made == 0


async def test_finishing_gives_no_start_back(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    await kit.add_many(2)
    await kit.settle(complete(await kit.claim()))

    assert await started(kit) == 0


async def test_the_limit_outlasts_pause_and_resume(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    await kit.add_many(100)
    await kit.claim()
    await kit.pause()
    await kit.resume()

    assert await started(kit) == 0


async def test_a_cleared_limit_limits_nobody(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    await kit.add_many(3)
    await kit.claim()
    await kit.configure(rate=None)

    assert await started(kit) == 2


async def test_a_workers_own_limit_holds_where_the_queue_has_none(kit: Kit) -> None:
    await kit.add_many(5)
    own = RateLimit(2, SECOND)

    assert [await started(kit, rate=own), await started(kit, rate=own)] == [2, 0]


async def test_the_queues_limit_wins_over_a_workers_own(kit: Kit) -> None:
    await kit.configure(rate=(3, SECOND))
    await kit.add_many(5)

    assert await started(kit, rate=RateLimit(1, SECOND)) == 3


async def test_each_queue_has_its_own_window(kit: Kit) -> None:
    for queue in ("a", "b"):
        await kit.configure(queue=queue, rate=(1, SECOND))
        await kit.add_many(2, queue=queue)
    await kit.claim("a")

    assert len((await kit.ask(queue="b")).jobs) == 1


# A limit set by hand.


async def test_nobody_starts_while_a_limit_by_hand_holds(kit: Kit) -> None:
    await kit.add()
    await kit.configure(limit_for_ms=5 * SECOND)

    answer = await kit.ask()

    assert (answer.jobs, answer.blocked, answer.next_ms) == ((), "rate", kit.about(T0 + 5 * SECOND))
    kit.tick(5 * SECOND)
    assert await started(kit) == 1


async def test_a_limit_by_hand_is_lifted(kit: Kit) -> None:
    await kit.add()
    await kit.configure(limit_for_ms=5 * SECOND)
    await kit.configure(limit_for_ms=0)

    assert await started(kit) == 1


async def test_the_settings_tell_until_when_the_queue_is_limited(kit: Kit) -> None:
    kit.now = int(time.time() * 1000)  # settings are read by the store's own clock
    await kit.configure(limit_for_ms=5 * SECOND)

    [settings] = await kit.store.settings(["mail"])

    assert settings.limited_until == kit.about(kit.now + 5 * SECOND)


async def test_a_released_job_may_limit_its_queue(kit: Kit) -> None:
    await kit.add()
    await kit.settle(release(await kit.claim(), rate_limit_ms=3 * SECOND))

    answer = await kit.ask()

    assert (answer.jobs, answer.blocked, answer.next_ms) == ((), "rate", kit.about(T0 + 3 * SECOND))
    kit.tick(3 * SECOND)
    assert await started(kit) == 1


async def test_claiming_within_finish_obeys_the_limit(kit: Kit) -> None:
    await kit.configure(rate=(1, SECOND))
    await kit.add_many(2)

    done = await kit.finish(complete(await kit.claim()), then=[kit.wanted()])

    [answer] = done.claimed
    assert (answer.jobs, answer.blocked, answer.next_ms) == ((), "rate", kit.about(T0 + SECOND))
