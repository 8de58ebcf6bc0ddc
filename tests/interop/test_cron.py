"""Cron texts as Node's parser reads them and as toril does: alike, but where the clock changes."""

import time
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from tests.interop.conftest import Sides
from tests.interop.node import NodeError, Peer
from tests.interop.sides import does
from toril._model.schedule import Rule, next_run
from toril.errors import ConfigError

RUNS = 4
ALIKE = """
* * * * *|*/5 * * * *|*/7 * * * *|*/45 * * * *|*/90 * * * *|0/1 * * * *|5/15 * * * *|5-50/15 * * * *
5-5/2 * * * *|5/2 * * * *|1,2,3-5 * * * *|0 * * * *|0 0 * * *|30 2 * * *|30 1 * * *|0 2 * * *
59 23 * * *|15 */2 * * *|30 */2 * * *|0 */3 * * *|0 9-17 * * *|0 9-17/2 * * *|0 5/6 * * *
0 1,2,3 * * *|* 2 * * *|*/15 2 * * *|*/15 1-3 * * *|00 05 * * *|05 5 01 01 *|  0  0 * * *
0 9 * * 1-5|0 9 * * MON-FRI|0 9 * * mon,wed,fri|0 9 * * 0|0 9 * * 7|0 9 * * SUN|0 9 * * 5-7
0 9 * * 0-7|0 9 * * 1,7|0 9 * * */2|0 0 * * 0-6
0 0 1 * *|0 0 15 * *|0 0 31 * *|0 0 30 * *|0 0 29 2 *|0 0 1,15 * *|0 0 1-5,10 * *|0 0 3/7 * *
0 0 1-31 * *|0 0 L * *|0 0 L,15 * *|0 0 1 1 *|0 0 1 JAN *|0 0 1 jan,jul *
0 0 1 */3 *|0 0 1 1-6/2 *|0 0 * JAN-MAR *
0 0 * * 5L|0 0 * * 1L|0 0 * * 7L|0 0 * * 2,5L|0 0 * * MON#1|0 0 * * 1#1|0 0 * * 5#5
0 0 1 * 1|0 0 13 * 5|0 0 1-7 * 1|0 0 * */2 1|0 0 15 * 0-6|0 0 15 * 1-7|0 0 1-31 * 1
0 0 ? * 1|0 0 1 * ?|0 0 ? * ?
*/30 * * * * *|0 */5 * * * *|30 0 12 * * 1-5|15,45 * * * * *
@yearly|@monthly|@weekly|@daily|@hourly|@minutely|@secondly|@weekdays|@weekends
"""
REFUSED_BY_BOTH = """
60 * * * *|0 24 * * *|0 0 0 * *|0 0 32 * *|0 0 * 0 *|0 0 * 13 *|0 0 * * 8|0 22-6 * * *
0 0 * * 5-1|0 0 * * FRI-MON|0 0 * * MON-SUN|0 0 30 2 *|0 0 31 4 *|0 0 31 2,4 *|0 0 15W * *|0 0 L-3 * *|0 0 1 1 * 2027 *
@reboot|a b c d e|0 0 * January *|0 0 * * Monday|*/0 * * * *|-1 * * * *|1.5 * * * *|0 0 * * 1#6
"""
# What Node reads otherwise or not at all: a schedule that both sides advance cannot have it.
READ_OTHERWISE = {
    "0 0 */2 * 1": "Node runs on either day where one of the two begins with a star",
    "0 0 1 * */2": "Node runs on either day where one of the two begins with a star",
}
UNKNOWN_TO_NODE = {
    "0 0 LW * *": "the last weekday of a month",
    "0 0 * * 1,3#2": "an nth weekday in a list",
    "0 0 * * 1#1,1#3": "an nth weekday in a list",
    "0,0 0 * * *": "a value twice",
}
REFUSED_BY_NODE = {
    **UNKNOWN_TO_NODE,
    "@midnight": "an unknown macro",
    "@DAILY": "a macro in capitals",
}
ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/New_York",
    "America/Sao_Paulo",
    "Asia/Kolkata",
    "Asia/Kathmandu",
    "Africa/Cairo",
)
MOMENTS = (
    "2026-01-01T00:00:00",
    "2026-03-08T06:10:00",
    "2026-03-28T22:59:59.500",
    "2026-03-29T00:30:00",
    "2026-04-23T21:30:00",
    "2026-06-15T12:34:56",
    "2026-10-24T22:10:00",
    "2026-11-01T05:30:00",
    "2026-12-31T23:59:59",
    "2028-02-28T12:00:00",
)


def texts(table: str) -> list[str]:
    return [text for line in table.strip().splitlines() for text in line.split("|")]


def ms(moment: str) -> int:
    return int(datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() * 1000)


def ours(pattern: str, zone: str, after: int) -> list[int]:
    rule = Rule(cron=pattern, tz=zone)
    runs: list[int] = []
    at = next_run(rule, now=after)
    while at is not None and len(runs) < RUNS:
        runs.append(at)
        at = next_run(rule, now=at)
    return runs


async def theirs(peer: Peer, pattern: str, zone: str, after: int) -> list[int]:
    return list(await peer.ask("cron", pattern=pattern, tz=zone, after=after, count=RUNS))


def changes_near(zone: str, at: int) -> bool:
    """Say whether the clock of a zone changes within a day of a moment."""
    moment, zoned = datetime.fromtimestamp(at / 1000, UTC), ZoneInfo(zone)
    day = timedelta(hours=25)
    return len({(moment + off).astimezone(zoned).utcoffset() for off in (-day, day)}) > 1


@pytest.fixture
def node(peers: dict[int, Peer]) -> Peer:
    return peers[6]


@pytest.mark.parametrize("zone", ZONES)
async def test_the_runs_are_the_same_but_around_a_change_of_the_clock(
    node: Peer, zone: str
) -> None:
    compared = 0
    for pattern in texts(ALIKE):
        for moment in MOMENTS:
            mine = ours(pattern, zone, ms(moment))
            node_runs = await theirs(node, pattern, zone, ms(moment))
            if mine == node_runs:
                compared += 1
                continue
            first = next(min(a, b) for a, b in zip(mine, node_runs, strict=True) if a != b)
            assert changes_near(zone, first), (pattern, zone, moment, mine, node_runs)
    assert compared >= len(texts(ALIKE)) * len(MOMENTS) * 0.9


async def test_node_cannot_step_over_a_change_of_half_an_hour(node: Peer) -> None:
    zone, after = "Australia/Lord_Howe", ms("2026-04-04T14:00:00")

    assert ours("0 9 * * *", zone, after)[0] == ms("2026-04-04T22:30:00")
    with pytest.raises(NodeError, match="loop limit exceeded"):
        await theirs(node, "0 9 * * *", zone, after)


@pytest.mark.parametrize("pattern", texts(REFUSED_BY_BOTH))
async def test_both_refuse_what_is_no_cron(node: Peer, pattern: str) -> None:
    with pytest.raises(ConfigError):
        Rule(cron=pattern, tz="UTC")
    with pytest.raises(NodeError):
        await theirs(node, pattern, "UTC", 0)


@pytest.mark.parametrize("pattern", READ_OTHERWISE)
async def test_node_reads_some_texts_otherwise(node: Peer, pattern: str) -> None:
    after = ms("2026-06-15T12:34:56")

    assert ours(pattern, "UTC", after) != await theirs(node, pattern, "UTC", after)


@pytest.mark.parametrize("pattern", REFUSED_BY_NODE)
async def test_node_refuses_some_texts_that_toril_reads(node: Peer, pattern: str) -> None:
    assert len(ours(pattern, "UTC", ms("2026-06-15T12:34:56"))) == RUNS
    with pytest.raises(NodeError):
        await theirs(node, pattern, "UTC", 0)


@pytest.mark.parametrize("pattern", [*READ_OTHERWISE, *UNKNOWN_TO_NODE])
async def test_a_text_that_node_reads_otherwise_is_no_schedule_on_redis(
    sides: Sides, pattern: str
) -> None:
    with pytest.raises(ConfigError, match="BullMQ"):
        await sides("toril").upsert("cards", "s", {"pattern": pattern, "tz": "UTC"})

    assert await sides("node6").schedulers("cards") == []


@pytest.mark.parametrize("pattern", ["@midnight", "@DAILY"])
async def test_a_macro_that_node_does_not_know_is_written_out(sides: Sides, pattern: str) -> None:
    await sides("toril").upsert("cards", "s", {"pattern": pattern, "tz": "UTC"})

    (stored,) = await sides("node6").schedulers("cards")
    assert stored.pattern == "0 0 * * *"


async def test_node_has_the_same_runs_of_every_schedule_that_toril_stored(
    sides: Sides, node: Peer
) -> None:
    toril, after = sides("toril"), ms("2026-06-15T12:34:56")
    for number, pattern in enumerate(texts(ALIKE)):
        await toril.upsert("cards", f"s{number}", {"pattern": pattern, "tz": "Asia/Kolkata"})

    for stored in await sides("node6").schedulers("cards"):
        assert stored.pattern is not None
        assert stored.tz == "Asia/Kolkata"
        written = texts(ALIKE)[int(stored.id[1:])]
        runs = await theirs(node, stored.pattern, stored.tz, after)
        assert runs == ours(written, stored.tz, after), stored


@pytest.mark.parametrize("pattern", READ_OTHERWISE)
async def test_toril_follows_a_schedule_of_nodes_as_node_reads_it(
    sides: Sides, node: Peer, pattern: str
) -> None:
    await sides("node6").upsert("cards", "s", {"pattern": pattern, "tz": "UTC"}, "tick", does())
    runs = await theirs(node, pattern, "UTC", int(time.time() * 1000))

    toril = sides("toril")
    await toril.work("cards")
    for run in runs[:3]:
        (armed,) = await toril.ids("cards", "delayed")
        assert armed == f"repeat:s:{run}"
        await toril.promote("cards", armed)
        await toril.result("cards", armed)


@pytest.mark.parametrize("pattern", ["H * * * *", "H H * * *", "0 ? * * *", "* * * *", ""])
async def test_toril_refuses_some_texts_that_node_reads(node: Peer, pattern: str) -> None:
    assert len(await theirs(node, pattern, "UTC", 0)) == RUNS
    with pytest.raises(ConfigError):
        Rule(cron=pattern, tz="UTC")


# (pattern, zone, from, Node's first run, toril's first run); times in UTC.
AROUND_CHANGES: list[Any] = [
    # A clock time that is skipped: Node runs as long after the change, toril at the change.
    ("30 2 * * *", "Europe/Berlin", "2026-03-29T00:30", "2026-03-29T01:30", "2026-03-29T01:00"),
    ("30 2 * * *", "America/New_York", "2026-03-08T06:10", "2026-03-08T07:30", "2026-03-08T07:00"),
    # Midnight that is skipped: Node leaves the day out, toril runs at the change.
    ("0 0 * * *", "Africa/Cairo", "2026-04-23T21:30", "2026-04-24T21:00", "2026-04-23T22:00"),
    # Every so many minutes of a skipped hour: Node runs in the hour after it, toril not.
    ("*/15 2 * * *", "Europe/Berlin", "2026-03-29T00:30", "2026-03-29T01:00", "2026-03-30T00:00"),
    # An hour that comes twice: Node runs in the first one, toril in both.
    ("*/15 2 * * *", "Europe/Berlin", "2026-10-25T00:50", "2026-10-26T01:00", "2026-10-25T01:00"),
    # A fixed time that comes twice: both run once.
    ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:10", "2026-10-25T00:30", "2026-10-25T00:30"),
    ("30 2 * * *", "Europe/Berlin", "2026-10-25T00:40", "2026-10-26T01:30", "2026-10-26T01:30"),
]


@pytest.mark.parametrize(("pattern", "zone", "after", "in_node", "in_toril"), AROUND_CHANGES)
async def test_around_a_change_of_the_clock_the_two_differ_like_this(
    node: Peer, pattern: str, zone: str, after: str, in_node: str, in_toril: str
) -> None:
    first = await theirs(node, pattern, zone, ms(after))

    assert (first[0], ours(pattern, zone, ms(after))[0]) == (ms(in_node), ms(in_toril))
