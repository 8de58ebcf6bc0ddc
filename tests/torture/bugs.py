"""Twelve bugs that a system of jobs might have, as edits to a copy of the source.

Each names the cheapest scenario that must catch it. They are data: nothing of them is in toril.
"""

from dataclasses import dataclass
from pathlib import Path

OWNERSHIP = "tests/torture/test_ownership.py"
IDS = "tests/torture/test_ids.py"
PROCESSES = "tests/torture/test_processes.py"


@dataclass(frozen=True, slots=True)
class Bug:
    """One edit: in this file of src/toril, this text becomes that one, wherever it stands."""

    name: str
    file: str
    right: str
    wrong: str
    scenario: str

    def put_into(self, source: Path) -> None:
        path = source / "toril" / self.file
        text = path.read_text("utf-8")
        assert self.right in text, f"{self.file} has changed: say anew how {self.name!r} looks"
        path.write_text(text.replace(self.right, self.wrong), "utf-8")


BUGS = (
    Bug(
        "a finish does not look at the token",
        "_store/redis/lua/lib/settle.lua",
        "elseif lock ~= d.token and (lock or fields[RUN] ~= d.run) then",
        "elseif false then",
        f"{OWNERSHIP}::test_whoever_lost_a_job_cannot_finish_it[redis-server]",
    ),
    Bug(
        "jobs are taken back whatever their lock",
        "_store/sqlite/sql/claim.sql",
        "jobs.lock_until <= ?1",
        "jobs.lock_until > 0 * ?1",
        f"{OWNERSHIP}::test_a_job_under_a_lock_is_not_taken_back[file]",
    ),
    Bug(
        "a claim answers without having set the lock",
        "_store/redis/lua/lib/claims.lua",
        'call("SET", key .. ":lock", want.token, "PX", want.lock)',
        "",
        f"{OWNERSHIP}::test_a_job_under_a_lock_is_not_taken_back[redis-server]",
    ),
    Bug(
        "locks are renewed once and never again",
        "_run/heartbeat.py",
        "        self._last = time.monotonic()\n\n    def ask",
        '        self._last = float("inf")\n\n    def ask',
        f"{OWNERSHIP}::test_a_lock_is_renewed_for_as_long_as_its_job_runs[redis]",
    ),
    Bug(
        "a call that is sent again is carried out again",
        "_store/redis/lua/lib/once.lua",
        "if number == arg.number then",
        "if false then",
        f"{OWNERSHIP}::test_an_add_whose_reply_was_lost_is_done_once[redis]",
    ),
    Bug(
        "a released job is put nowhere",
        "_store/redis/lua/lib/place.lua",
        'call(front and "RPUSH" or "LPUSH", q.wait, id)',
        'if not front then call("LPUSH", q.wait, id) end',
        f"{PROCESSES}::test_a_job_that_outlasts_the_grace_is_started_by_the_successor_at_once[redis]",
    ),
    Bug(
        "a parent is released while children are pending",
        "_store/sqlite/sql/finish.sql",
        "SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'pending'",
        "SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'nothing'",
        f"{IDS}::test_the_last_two_children_race_and_the_parent_runs_once[sqlite]",
    ),
    Bug(
        "a schedule is advanced by a run that is not its own",
        "_store/sqlite/schedule.py",
        "info is None or info.job_id != job.id",
        "info is None",
        f"{OWNERSHIP}::test_a_schedule_that_is_advanced_twice_has_one_run_armed[file]",
    ),
    Bug(
        "bystanders are charged for crashes",
        "_model/crashes.py",
        "stalls += int(alone or stalls < alone_from(limit))",
        "stalls, alone = stalls + 1, True",
        f"{OWNERSHIP}::test_a_bystander_of_many_crashes_is_never_given_up[file]",
    ),
    Bug(
        "the marker that wakes workers is never written",
        "_store/redis/lua/lib/wake.lua",
        'call("ZADD", q.marker, 0, "0")',
        "",
        f"{OWNERSHIP}::test_an_idle_worker_is_woken[redis]",
    ),
    Bug(
        "a call is answered before its COMMIT",
        "_store/sqlite/db.py",
        "            work.commit(unit)\n",
        "            for call in batch:\n"
        "                if call.loop is not None:\n"
        "                    call.loop.call_soon_threadsafe(_deliver, [call])\n"
        "            time.sleep(0.05)\n"
        "            work.commit(unit)\n",
        f"{OWNERSHIP}::test_what_was_acknowledged_is_in_the_file[sqlite]",
    ),
    Bug(
        "retention lets jobs go that run",
        "_store/sqlite/sql/finish.sql",
        "WHERE queue = ?1 AND state = ?2 AND state IN ('completed', 'failed')\n"
        "        AND (NOT ?5 OR expires_ms IS NULL)",
        "WHERE queue = ?1 AND state IN (?2, 'active')\n        AND (NOT ?5 OR expires_ms IS NULL)",
        f"{OWNERSHIP}::test_retention_lets_no_job_go_that_runs[file]",
    ),
)
