"""Who paused a queue, why, and until when; and the end of a pause."""

import pytest

from tests.support.kit import MINUTE, QUEUE, T0, Kit
from toril._model.notes import MOST_OF_A_PAUSE, Pause
from toril._model.report import QueueSettings, SettingsPatch
from toril._model.states import State
from toril.errors import ConfigError
from toril.events import Resumed

NOTE = Pause(by="ann", reason="provider down \u26a0", until_ms=T0 + MINUTE)


async def paused(kit: Kit, note: Pause | None = NOTE) -> QueueSettings:
    patch = SettingsPatch(paused=True, pause=note)
    return await kit.store.configure(QUEUE, patch, now=kit.now)


async def settings(kit: Kit) -> QueueSettings:
    [found] = await kit.store.settings([QUEUE])
    return found


async def test_a_pause_says_who_why_since_when_and_until_when(kit: Kit) -> None:
    answer = await paused(kit)

    assert answer.paused
    assert answer.pause == Pause(
        by="ann", reason="provider down \u26a0", since_ms=T0, until_ms=T0 + MINUTE
    )
    assert (await settings(kit)).pause == answer.pause


async def test_a_newer_note_replaces_the_older_one(kit: Kit) -> None:
    await paused(kit)
    kit.tick(5)
    answer = await paused(kit, Pause(by="bob"))

    assert answer.pause == Pause(by="bob", since_ms=T0 + 5)

    assert (await paused(kit, None)).pause is None


async def test_resuming_forgets_the_note(kit: Kit) -> None:
    await paused(kit)
    await kit.resume()
    await kit.pause()

    assert ((await settings(kit)).paused, (await settings(kit)).pause) == (True, None)


async def test_other_settings_leave_the_note_alone(kit: Kit) -> None:
    noted = (await paused(kit)).pause
    await kit.configure(concurrency=3)

    assert (await settings(kit)).pause == noted


async def test_before_its_end_a_claim_learns_when_that_is(kit: Kit) -> None:
    await kit.add()
    await paused(kit)
    kit.tick(MINUTE - 1)

    answer = await kit.ask()

    assert (answer.jobs, answer.blocked, answer.next_ms) == ((), "paused", T0 + MINUTE)


async def test_a_claim_after_its_end_resumes_the_queue(kit: Kit) -> None:
    ref = await kit.add()
    await paused(kit)
    await kit.hush()
    kit.tick(MINUTE)

    claim = await kit.claim()

    assert claim.record.id == ref.id
    assert not (await settings(kit)).paused
    assert (await settings(kit)).pause is None
    assert type((await kit.hear())[0]) is Resumed


async def test_tidying_up_resumes_a_queue_whose_pause_is_over(kit: Kit) -> None:
    await paused(kit)
    kit.tick(MINUTE)
    await kit.recover(QUEUE)

    assert not (await settings(kit)).paused


async def test_tidying_up_leaves_a_pause_that_goes_on(kit: Kit) -> None:
    ref = await kit.add()
    before = await paused(kit)
    await kit.recover(QUEUE)

    assert await settings(kit) == before
    assert (await settings(kit)).pause == before.pause
    assert await kit.state(ref) == State.WAITING


async def test_who_waits_is_woken_at_its_end(kit: Kit) -> None:
    now = kit.store.clock.now_ms()
    await kit.store.configure(
        QUEUE, SettingsPatch(paused=True, pause=Pause(until_ms=now + 100)), now=None
    )
    await kit.add()

    assert await kit.store.wait([QUEUE], timeout_ms=3_000) == {QUEUE}
    assert kit.store.clock.now_ms() >= now + 100


@pytest.mark.parametrize(
    "wrong",
    [{"by": 1}, {"reason": "x" * (MOST_OF_A_PAUSE + 1)}, {"until_ms": -1}, {"since_ms": "x"}],
    ids=str,
)
def test_a_note_that_cannot_be_stored_is_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        Pause(**wrong)  # type: ignore[arg-type]
