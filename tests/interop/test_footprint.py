"""After the same doings the same stands in Redis, but for a short list of what does no harm."""

import importlib
import re
import time
from dataclasses import dataclass
from typing import Any

import pytest

from tests.interop.conftest import Sides
from tests.interop.doings import DOINGS, WORKED
from tests.interop.footprint import Difference, Flat, Footprint, differences
from tests.support.servers import fresh_prefix


async def footprint(sides: Sides, keys: Any, name: str, what: str) -> Flat:
    """Let a side do something on a prefix of its own, and read what stands there then."""
    began = time.time()
    side = sides.make(name, fresh_prefix())
    try:
        await DOINGS[what](side)
        flat = Footprint(keys, side.prefix, since=began).read()
        if side.prefix in WORKED:
            return {path: value for path, value in flat.items() if ":marker(" not in path}
        return flat
    finally:
        await side.close()


@dataclass(frozen=True, slots=True)
class Exemption:
    """What may differ: a pattern of paths, why, and the test that shows it harmless to Node.

    Shape    proof: "module:test". doings: where it may differ; none: everywhere.
    """

    path: str
    reason: str
    proof: str
    doings: tuple[str, ...] = ()

    def covers(self, what: str, difference: Difference) -> bool:
        here = not self.doings or what in self.doings
        return here and re.fullmatch(self.path, difference.path) is not None


EXCEPTIONS: tuple[Exemption, ...] = (
    Exemption(
        r"[^.]*:toril:[^.]*(\..*)?",
        "keys of toril's own, under names that BullMQ passes over",
        "test_orphans:test_nodes_sweep_leaves_a_queue_of_torils_as_it_is",
    ),
    Exemption(
        r".*\.toril:[a-z:0-9]+",
        "fields of toril's own in the hashes of jobs and schedulers",
        "test_exceptions:test_node_handles_a_job_with_fields_of_torils_own",
    ),
    Exemption(
        r".*\.opts\.attempts",
        "one attempt is written as 1, where Node writes 0 and means 1",
        "test_exceptions:test_one_attempt_is_one_attempt_to_node",
    ),
    Exemption(
        r"[^.]*:meta\.version",
        "the version of BullMQ that last opened the queue: toril is none",
        "test_exceptions:test_node_works_on_a_queue_without_a_version",
    ),
    Exemption(
        r"[^.]*\.pb",
        "the worker's id, which begins with its name: two workers may share a name",
        "test_reading:test_a_worker_is_found_by_the_name_of_its_connection",
    ),
    Exemption(
        r"[^.]*:metrics:(completed|failed)(\..*|:data.*)",
        "metrics are always counted, Node's workers do so when asked",
        "test_reading:test_metrics_count_what_finished",
    ),
    Exemption(
        r"[^.]*:stalled-check( ttl)?",
        "a check for stalled jobs is made only while jobs are active",
        "test_recovery:test_the_jobs_of_a_killed_worker_are_run_by_the_other_side",
    ),
    Exemption(
        r"uploads:<parent>\.stacktrace\[0\]",
        "a job that fails for its child was not run, and has no stack",
        "test_exceptions:test_node_handles_a_job_that_failed_for_its_child",
        ("child_fails_parent",),
    ),
    Exemption(
        r"cards:(wait\[\d\]|events order)",
        "a flow is laid out branch by branch, Node's level by level",
        "test_flows:test_three_levels_across_queues_run_from_the_leaves_up",
        ("flow_of_one_queue",),
    ),
    Exemption(
        r"cards:events#removed repeat:.*",
        "the run that a changed rule replaces is announced as removed",
        "test_schedulers:test_another_side_may_change_the_rule",
        ("scheduler_changed_and_removed",),
    ),
    Exemption(
        r"cards:marker\([01]\)",
        "a limit set by hand holds every worker back until it ends",
        "test_limits:test_a_limit_set_by_hand_stops_the_other_side",
        ("rate_limit_by_hand",),
    ),
    Exemption(
        r"[a-z]+:(pc|prioritized\(.*\)|wait\[\d\]|\d\.delay)",
        "jobs keep their priority when many are put back, and a parent that its last child frees",
        "test_exceptions:test_node_runs_jobs_that_kept_their_priority",
        ("retry_all", "promote_all", "remove_last_child"),
    ),
    Exemption(
        r"(images|uploads):(events#(waiting|removed) <uuid>|marker\(0\))",
        "a parent that is removed with its children is not freed by them first",
        "test_flows:test_removing_a_parent_takes_its_children",
        ("remove_with_children",),
    ),
)
MOST = 15


@pytest.mark.parametrize("what", DOINGS)
async def test_node_leaves_the_same_twice(sides: Sides, keys: Any, what: str) -> None:
    once = await footprint(sides, keys, "node6", what)
    twice = await footprint(sides, keys, "node6", what)

    assert once or what == "obliterate"
    assert differences(once, twice) == []


@pytest.mark.parametrize("what", DOINGS)
async def test_toril_leaves_what_node_leaves(sides: Sides, keys: Any, what: str) -> None:
    node = await footprint(sides, keys, "node6", what)
    toril = await footprint(sides, keys, "toril", what)

    found = differences(node, toril)
    left = [each for each in found if not any(one.covers(what, each) for one in EXCEPTIONS)]
    assert not left, "\n" + "\n".join(map(str, left))


def test_the_exceptions_are_few_and_each_has_a_proof() -> None:
    assert len(EXCEPTIONS) <= MOST
    for one in EXCEPTIONS:
        module, _, test = one.proof.partition(":")
        assert hasattr(importlib.import_module(f"tests.interop.{module}"), test), one
