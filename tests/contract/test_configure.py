"""configure and settings: what holds for a whole queue."""

from tests.support.kit import MINUTE, QUEUE, T0, Kit
from toril._model.options import Keep
from toril._model.report import QueueSettings, SettingsPatch
from toril.events import Paused, Resumed


async def settings(kit: Kit, queue: str = QUEUE) -> QueueSettings:
    [found] = await kit.store.settings([queue])
    return found


async def test_an_unknown_queue_has_the_defaults_and_is_not_made(kit: Kit) -> None:
    assert await settings(kit) == QueueSettings(queue=QUEUE)
    assert await kit.store.queues() == []


async def test_settings_come_in_the_order_asked_for(kit: Kit) -> None:
    await kit.pause("a")

    found = await kit.store.settings(["b", "a"])

    assert [(one.queue, one.paused) for one in found] == [("b", False), ("a", True)]


async def test_what_is_configured_holds_and_is_answered(kit: Kit) -> None:
    patch = SettingsPatch(
        paused=True,
        concurrency=3,
        rate=(10, MINUTE),
        keep_completed=Keep(count=5, age_ms=MINUTE),
        keep_failed=Keep(),
        dead_letter="dead",
        events_limit=100,
    )

    answer = await kit.store.configure(QUEUE, patch, now=kit.now)

    assert answer == QueueSettings(
        queue=QUEUE,
        paused=True,
        concurrency=3,
        rate_max=10,
        rate_ms=MINUTE,
        keep_completed=Keep(count=5, age_ms=MINUTE),
        keep_failed=Keep(),
        dead_letter="dead",
        events_limit=100,
    )
    assert await settings(kit) == answer


async def test_what_is_not_named_stays(kit: Kit) -> None:
    await kit.configure(concurrency=3, keep_failed=Keep(count=0))
    await kit.configure(paused=True)

    found = await settings(kit)

    assert (found.concurrency, found.keep_failed, found.paused) == (3, Keep(count=0), True)


async def test_none_clears(kit: Kit) -> None:
    await kit.configure(
        concurrency=3, rate=(1, 1), keep_completed=Keep(count=1), dead_letter="dead"
    )
    await kit.configure(concurrency=None, rate=None, keep_completed=None, dead_letter=None)

    assert await settings(kit) == QueueSettings(queue=QUEUE)


async def test_a_pause_is_announced_once(kit: Kit) -> None:
    await kit.pause()
    await kit.pause()

    [event] = await kit.hear()
    assert event == Paused(id=event.id, queue=QUEUE, at_ms=T0)


async def test_a_resumption_is_announced_once(kit: Kit) -> None:
    await kit.pause()
    await kit.hush()
    await kit.resume()
    await kit.resume()

    [event] = await kit.hear()
    assert event == Resumed(id=event.id, queue=QUEUE, at_ms=T0)


async def test_to_resume_what_was_not_paused_says_nothing(kit: Kit) -> None:
    await kit.resume()

    assert await kit.hear() == []


async def test_other_settings_are_not_announced(kit: Kit) -> None:
    await kit.configure(concurrency=3, rate=(1, 1), events_limit=100)

    assert await kit.hear() == []


async def test_a_limit_that_is_over_is_not_told(kit: Kit) -> None:
    await kit.configure(limit_for_ms=MINUTE)
    await kit.configure(limit_for_ms=0)

    assert (await settings(kit)).limited_until is None
