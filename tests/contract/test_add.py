"""add: what is stored, what is answered, and how groups stand beside each other."""

from tests.support.kit import QUEUE, SECOND, T0, Kit, ids, new
from toril._model.options import MAX_PRIORITY, JobOptions
from toril._model.record import NewJob, Ref
from toril._model.states import State
from toril._model.stored_options import to_text
from toril._store.values import AddAnswer
from toril.errors import ParentNotFound
from toril.events import Added as AddedEvent
from toril.events import Delayed, Duplicated, Waiting

NOBODY = Ref(QUEUE, "nobody")


async def test_ids_count_up_as_text(kit: Kit) -> None:
    assert ids(await kit.add_many(3)) == ["1", "2", "3"]
    assert (await kit.add()).id == "4"


async def test_each_queue_counts_by_itself(kit: Kit) -> None:
    await kit.add(queue="mail")

    assert (await kit.add(queue="image:optimize")).id == "1"


async def test_a_job_is_stored_as_it_was_handed_in(kit: Kit) -> None:
    options = JobOptions(
        attempts=3, keep_logs=5, keep_stack=2, omit_context=True, timeout_ms=SECOND
    )
    job = NewJob(queue=QUEUE, name="welcome", data='{"to":"é@b.c"}', options=options)
    (added,) = await kit.add_group(job)

    record = await kit.record(Ref(QUEUE, added.id))

    assert record.queue == QUEUE
    assert record.name == "welcome"
    assert record.data == '{"to":"é@b.c"}'
    assert record.opts == to_text(options)
    assert record.state == State.WAITING
    assert record.created_ms == T0


async def test_a_new_job_has_no_past(kit: Kit) -> None:
    record = await kit.record(await kit.add())

    assert (record.attempts_made, record.runs, record.stalls, record.unknown) == (0, 0, 0, 0)
    assert (record.started_ms, record.finished_ms, record.due_ms) == (None, None, None)
    assert (record.progress, record.result, record.reason) == (None, None, None)
    assert (record.stack, record.tries) == ((), ())
    assert (record.parent, record.schedule, record.dedup) == (None, None, None)


async def test_data_may_be_any_json(kit: Kit) -> None:
    for text in ("null", "1", '"text"', "[]", '{"a":[1,2.5,null]}'):
        assert (await kit.record(await kit.add(data=text))).data == text


async def test_an_added_job_is_announced_then_waits(kit: Kit) -> None:
    ref = await kit.add("welcome")

    added, waiting = await kit.hear()

    assert added == AddedEvent(id=added.id, queue=QUEUE, at_ms=T0, job_id=ref.id, name="welcome")
    assert waiting == Waiting(id=waiting.id, queue=QUEUE, at_ms=T0, job_id=ref.id, prev="")


async def test_a_delayed_job_says_when_it_is_due(kit: Kit) -> None:
    ref = await kit.add(delay_ms=5 * SECOND)

    _, delayed = await kit.hear()

    assert delayed == Delayed(
        id=delayed.id, queue=QUEUE, at_ms=T0, job_id=ref.id, due_ms=T0 + 5 * SECOND
    )
    assert (await kit.record(ref)).due_ms == T0 + 5 * SECOND
    assert (await kit.record(ref)).delay_ms == 5 * SECOND


async def test_a_delayed_job_keeps_its_priority_for_later(kit: Kit) -> None:
    record = await kit.record(await kit.add(delay_ms=SECOND, priority=7))

    assert (record.state, record.priority) == (State.DELAYED, 7)


async def test_the_last_priority_is_stored(kit: Kit) -> None:
    record = await kit.record(await kit.add(priority=MAX_PRIORITY))

    assert (record.state, record.priority) == (State.PRIORITIZED, 2_097_151)


async def test_a_moment_of_creation_that_was_given_is_kept(kit: Kit) -> None:
    assert (await kit.record(await kit.add(created_ms=T0 - 5))).created_ms == T0 - 5


async def test_jobs_are_added_to_a_paused_queue(kit: Kit) -> None:
    await kit.pause()

    await kit.add()

    assert await kit.counts() == {"waiting": 1}


async def test_a_batch_of_250_jobs_is_stored_in_order(kit: Kit) -> None:
    refs = await kit.add_many(250)

    assert ids(refs) == [str(n) for n in range(1, 251)]
    assert await kit.counts() == {"waiting": 250}


async def test_one_call_may_hold_250_groups(kit: Kit) -> None:
    answers = await kit.store.add([[new()]] * 250, now=kit.now)

    assert answers == [(AddAnswer(str(n)),) for n in range(1, 251)]


async def test_no_groups_give_no_answers(kit: Kit) -> None:
    assert await kit.store.add([], now=kit.now) == []


# Custom ids.


async def test_a_custom_id_is_the_jobs_id(kit: Kit) -> None:
    assert await kit.add_group(new(id="user-42")) == (AddAnswer("user-42"),)


async def test_a_second_job_with_the_id_is_not_stored(kit: Kit) -> None:
    ref = await kit.add("first", id="user-42", data="1")

    assert await kit.add_group(new("second", id="user-42", data="2")) == (
        AddAnswer("user-42", "duplicate"),
    )

    record = await kit.record(ref)
    assert (record.name, record.data) == ("first", "1")
    assert await kit.counts() == {"waiting": 1}


async def test_a_duplicate_is_announced_under_the_id(kit: Kit) -> None:
    await kit.add(id="user-42")
    await kit.hush()

    await kit.add(id="user-42")

    [event] = await kit.hear()
    assert event == Duplicated(id=event.id, queue=QUEUE, at_ms=T0, job_id="user-42")


async def test_an_id_that_stands_twice_in_a_group_is_stored_once(kit: Kit) -> None:
    added = await kit.add_group(new(id="user-42"), new(id="user-42"))

    assert [one.word for one in added] == ["added", "duplicate"]


async def test_an_id_that_stands_twice_in_a_call_is_stored_once(kit: Kit) -> None:
    answers = await kit.store.add([[new(id="user-42")], [new(id="user-42")]], now=kit.now)

    assert answers == [(AddAnswer("user-42"),), (AddAnswer("user-42", "duplicate"),)]


async def test_the_same_id_in_another_queue_is_another_job(kit: Kit) -> None:
    await kit.add(id="user-42")

    assert await kit.add_group(new(id="user-42", queue="other")) == (AddAnswer("user-42"),)


async def test_an_id_is_free_again_once_its_job_is_removed(kit: Kit) -> None:
    await kit.remove(await kit.add(id="user-42"))

    assert await kit.add_group(new(id="user-42")) == (AddAnswer("user-42"),)


async def test_a_retried_duplicate_is_answered_while_the_job_runs(kit: Kit) -> None:
    ref = await kit.make(State.ACTIVE, id="user-42")

    assert await kit.add_group(new(id="user-42")) == (AddAnswer("user-42", "duplicate"),)

    assert await kit.state(ref) == State.ACTIVE


# Groups: all or nothing each, and none of its neighbours' business.


async def test_a_refused_group_leaves_its_neighbours_alone(kit: Kit) -> None:
    answers = await kit.store.add([[new()], [new(parent=NOBODY)], [new()]], now=kit.now)

    first, refused, third = answers
    assert isinstance(refused, ParentNotFound)
    assert [first, third] != [refused, refused]
    assert await kit.counts() == {"waiting": 2}


async def test_a_refused_group_stores_none_of_its_jobs(kit: Kit) -> None:
    [answer] = await kit.store.add(
        [[new(), new(id="mine"), new(parent=NOBODY), new()]], now=kit.now
    )

    assert isinstance(answer, ParentNotFound)
    assert await kit.counts() == {}
    assert await kit.find(Ref(QUEUE, "mine")) is None
    assert await kit.hear() == []


async def test_the_error_of_a_missing_parent_names_it(kit: Kit) -> None:
    [error] = await kit.store.add([[new(parent=NOBODY)]], now=kit.now)

    assert "nobody" in str(error)


async def test_groups_of_one_call_go_to_their_queues(kit: Kit) -> None:
    groups = [[new(queue="a")], [new(queue="b"), new(queue="a")]]

    assert await kit.store.add(groups, now=kit.now) == [
        (AddAnswer("1"),),
        (AddAnswer("1"), AddAnswer("2")),
    ]

    assert await kit.counts("a") == {"waiting": 2}
    assert await kit.counts("b") == {"waiting": 1}


async def test_events_of_a_batch_keep_each_jobs_order(kit: Kit) -> None:
    one, two = await kit.add_many(2)

    events = await kit.hear()

    for ref in (one, two):
        mine = [event.kind for event in events if getattr(event, "job_id", "") == ref.id]
        assert mine == ["added", "waiting"]
