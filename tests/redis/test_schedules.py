"""Schedules stand as BullMQ has them, and those that BullMQ wrote are read."""

import json

import pytest

from tests.redis.conftest import Wire
from tests.support.kit import HOUR, MINUTE, QUEUE, T0, Kit
from toril._model.record import Ref
from toril._model.report import ScheduleInfo
from toril._model.schedule import Rule
from toril._model.states import State
from toril._store.values import ScheduleDraft
from toril.errors import ConfigError

NEXT = T0 + HOUR
RUN = f"repeat:nightly:{NEXT}"
CRON = Rule(cron="0 3 * * *", tz="Europe/Berlin")


async def put(kit: Kit, rule: Rule = CRON, next_ms: int | None = NEXT, **more: str) -> ScheduleInfo:
    draft = ScheduleDraft(
        queue=QUEUE, id="nightly", name="report", rule=rule, next_ms=next_ms, **more
    )
    return await kit.store.put_schedule(draft, now=kit.now)


def bullmq(wire: Wire, id: str, next_ms: int, **fields: object) -> None:
    """Write a schedule as BullMQ does, without its run."""
    wire.client.hset(
        wire.key(f"repeat:{id}"), mapping={"name": "tick", "ic": 1, "offset": 0} | fields
    )
    wire.client.zadd(wire.key("repeat"), {id: next_ms})


async def test_a_cron_schedule_has_the_fields_of_bullmq(kit: Kit, wire: Wire) -> None:
    rule = Rule(cron="0 3 * * *", tz="Europe/Berlin", start_ms=T0, end_ms=2 * T0, limit=9)
    await put(kit, rule, data='{"a":1}', opts='{"attempts":3}')

    assert wire.scores("repeat") == {"nightly": NEXT}
    assert wire.hash("repeat:nightly") == {
        "name": "report",
        "ic": "1",
        "pattern": "0 3 * * *",
        "tz": "Europe/Berlin",
        "startDate": str(T0),
        "endDate": str(2 * T0),
        "limit": "9",
        "offset": "0",
        "data": '{"a":1}',
        "opts": '{"attempts":3}',
        "toril:offset": "",
    }


async def test_an_interval_notes_how_far_after_its_slots_it_runs(kit: Kit, wire: Wire) -> None:
    await put(kit, Rule(every_ms=MINUTE), T0 + 7)

    stored = wire.hash("repeat:nightly")
    assert (stored["every"], stored["offset"]) == (str(MINUTE), str((T0 + 7) % MINUTE))
    assert "tz" not in stored
    assert not {"data", "opts", "pattern"} & stored.keys()


async def test_a_run_says_in_its_options_what_bullmq_goes_on_from(kit: Kit, wire: Wire) -> None:
    await put(kit, opts='{"attempts":3,"priority":2}')

    assert wire.opts(RUN) == {
        "attempts": 3,
        "priority": 2,
        "repeat": {"pattern": "0 3 * * *", "tz": "Europe/Berlin", "count": 1},
        "jobId": RUN,
        "repeatJobKey": "nightly",
        "delay": HOUR,
        "timestamp": T0,
        "prevMillis": NEXT,
    }
    assert wire.hash(RUN)["rjk"] == "nightly"


async def test_only_cron_runs_say_when_they_are_due(kit: Kit, wire: Wire) -> None:
    await put(kit, Rule(every_ms=MINUTE, offset_ms=5))

    assert "prevMillis" not in wire.opts(RUN)
    assert wire.opts(RUN)["repeat"] == {"every": MINUTE, "offset": 5, "count": 1}


async def test_a_template_loses_what_each_run_has_of_its_own(kit: Kit, wire: Wire) -> None:
    await put(kit, opts='{"attempts":3,"de":{"id":"k"},"delay":7,"timestamp":5}')

    assert json.loads(wire.hash("repeat:nightly")["opts"]) == {"attempts": 3}
    assert "de" not in wire.opts(RUN)
    assert not [key for key in wire.names() if key.startswith("de:")]


async def test_unknown_options_of_a_template_reach_every_run(kit: Kit, wire: Wire) -> None:
    await put(kit, opts='{"attempts":3,"telemetry":{"big":12345678901234567890}}')
    kit.tick(HOUR)
    await kit.claim()
    await kit.store.advance(Ref(QUEUE, RUN), "nightly", NEXT + HOUR, now=kit.now)

    text = wire.hash(f"repeat:nightly:{NEXT + HOUR}")["opts"]
    assert '"telemetry":{"big":12345678901234567890}' in text
    assert json.loads(text)["repeat"]["count"] == 2


async def test_advancing_counts_and_moves_the_score(kit: Kit, wire: Wire) -> None:
    await put(kit)
    kit.tick(HOUR)
    await kit.claim()

    await kit.store.advance(Ref(QUEUE, RUN), "nightly", NEXT + HOUR, now=kit.now)

    assert wire.hash("repeat:nightly")["ic"] == "2"
    assert wire.scores("repeat") == {"nightly": NEXT + HOUR}


async def test_a_run_that_has_been_there_is_not_stored_twice(kit: Kit, wire: Wire) -> None:
    await put(kit, Rule(every_ms=MINUTE), T0)
    await kit.run()
    await kit.hush()

    info = await put(kit, Rule(every_ms=2 * MINUTE), T0)

    assert await kit.kinds() == ["duplicated"]
    assert info.job_id == f"repeat:nightly:{T0}"
    assert await kit.counts() == {"completed": 1}


async def test_a_schedule_that_is_over_stays_and_lets_its_last_run_go(kit: Kit, wire: Wire) -> None:
    await put(kit)
    kit.tick(HOUR)
    await kit.run()
    await kit.store.advance(Ref(QUEUE, RUN), "nightly", None, now=kit.now)

    assert (await kit.remove(Ref(QUEUE, RUN))).ids == (RUN,)

    [info] = await kit.store.schedules(QUEUE)
    assert (info.next_ms, info.job_id, info.count) == (None, None, 1)
    assert wire.scores("repeat") == {"nightly": NEXT}


async def test_a_macro_is_written_as_fields_and_read_as_it_was(kit: Kit, wire: Wire) -> None:
    info = await put(kit, Rule(cron="@daily"))

    assert wire.hash("repeat:nightly")["pattern"] == "0 0 * * *"
    assert wire.opts(RUN)["repeat"]["pattern"] == "0 0 * * *"
    assert info.rule == Rule(cron="@daily")


@pytest.mark.parametrize(
    ("cron", "word"),
    [
        ("0 0 */2 * 1", "either"),
        ("0 0 1 * */2", "either"),
        ("0 0 LW * *", "W"),
        ("0 0 * * 1,3#2", "#"),
        ("0 0 * * MON,1-3", "1,2,3"),
        ("0 0 * * 0,7", "twice"),
    ],
)
async def test_a_text_that_bullmq_reads_otherwise_is_refused_with_the_reason(
    kit: Kit, wire: Wire, cron: str, word: str
) -> None:
    with pytest.raises(ConfigError, match=word):
        await put(kit, Rule(cron=cron))

    assert wire.names() == set()


async def test_what_bullmq_wrote_is_read(kit: Kit, wire: Wire) -> None:
    bullmq(wire, "cron", NEXT, pattern="0 3 * * *", data='{"a":1}', limit=3)
    bullmq(wire, "every", T0, every=MINUTE, offset=41)

    every, cron = await kit.store.schedules(QUEUE)

    assert every.rule == Rule(every_ms=MINUTE, offset_ms=41)
    assert cron == ScheduleInfo(
        queue=QUEUE,
        id="cron",
        name="tick",
        rule=Rule(cron="0 3 * * *", tz="UTC", limit=3),
        data='{"a":1}',
        count=1,
        next_ms=NEXT,
        job_id=f"repeat:cron:{NEXT}",
    )


async def test_a_pattern_that_bullmq_reads_otherwise_is_followed_as_it_reads_it(
    kit: Kit, wire: Wire
) -> None:
    bullmq(wire, "s", NEXT, pattern="0 0 */10 * 1")

    [info] = await kit.store.schedules(QUEUE)

    assert info.rule == Rule(cron="0 0 1,11,21,31 * 1")
    assert wire.hash("repeat:s")["pattern"] == "0 0 */10 * 1"


async def test_entries_of_bullmq_5_are_passed_over_and_patterns_nobody_reads_are_told_of(
    kit: Kit, wire: Wire
) -> None:
    wire.client.zadd(wire.key("repeat"), {"tick:::UTC:0 3 * * *": NEXT})
    bullmq(wire, "odd", NEXT, pattern="H H * * *")
    await put(kit)

    nightly, odd = await kit.store.schedules(QUEUE)
    assert (nightly.id, nightly.fault) == ("nightly", None)
    assert (odd.id, odd.job_id, odd.next_ms) == ("odd", None, None)
    assert odd.fault is not None
    assert "'H' is no minute" in odd.fault
    assert len(wire.scores("repeat")) == 3


async def test_a_schedule_of_bullmq_is_advanced_with_its_own_fields(kit: Kit, wire: Wire) -> None:
    bullmq(
        wire, "s", T0, pattern="0 3 * * *", tz="Asia/Tokyo", data='{"n":1}', opts='{"lifo":true}'
    )
    await kit.add(id="other")

    info = await kit.store.advance(Ref(QUEUE, f"repeat:s:{T0}"), "s", T0 + 1, now=kit.now)

    assert info is not None
    assert info.count == 2
    made = wire.hash(f"repeat:s:{T0 + 1}")
    assert (made["name"], made["data"], made["rjk"]) == ("tick", '{"n":1}', "s")
    assert wire.opts(f"repeat:s:{T0 + 1}")["repeat"] == {
        "pattern": "0 3 * * *",
        "tz": "Asia/Tokyo",
        "count": 2,
    }


async def test_an_id_with_colons_and_quotes_is_a_schedule_like_any_other(
    kit: Kit, wire: Wire
) -> None:
    draft = ScheduleDraft(
        queue=QUEUE, id='a:b "c"', name="x", rule=Rule(every_ms=MINUTE), next_ms=NEXT
    )
    info = await kit.store.put_schedule(draft, now=kit.now)
    run = f'repeat:a:b "c":{NEXT}'

    assert info.job_id == run
    assert wire.opts(run)["repeatJobKey"] == 'a:b "c"'
    assert await kit.state(Ref(QUEUE, run)) == State.DELAYED
    assert await kit.store.drop_schedule(QUEUE, 'a:b "c"', now=kit.now) is True
    assert wire.scores("delayed") == {}
    assert run not in wire.names()
