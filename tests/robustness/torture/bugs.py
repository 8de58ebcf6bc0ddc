"""Bugs that a system of jobs might have, as edits to a copy of the source.

Each names the cheapest scenario that must catch it, and what that says then: a bug that only makes
the code fall over is not caught. The first twelve are those that every such system should be tried
with, a kind each. They are data: nothing of them is in toril.
"""

from dataclasses import dataclass
from pathlib import Path

OWNERSHIP = "tests/robustness/torture/test_ownership.py"
FENCES = "tests/robustness/torture/test_fences.py"
LOCKS = "tests/redis/test_locks.py"
FLOWS = "tests/contract/test_flows.py"
PROCESSES = "tests/robustness/torture/test_processes.py"
KINDS = (
    "the token is not checked",
    "a lock is renewed without its token",
    "the lock is not there when the job is",
    "what a crash leaves behind is not cleaned up",
    "a finish is not atomic",
    "a job is acknowledged before it ran",
    "a refusal is ignored",
    "nobody looks after a wait",
    "the local clock is used",
    "what is due is promoted without bound",
    "children are counted wrong by one",
    "there is no jitter",
)


@dataclass(frozen=True, slots=True)
class Bug:
    """One edit: in this file of src/toril, this text becomes that one, wherever it stands.

    Shape    says: a pattern of what the scenario's failure is told by. kind: one of the twelve.
    """

    name: str
    file: str
    right: str
    wrong: str
    scenario: str
    says: str
    kind: str | None = None

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
        "DID NOT RAISE TorilError",
        kind=KINDS[0],
    ),
    Bug(
        "jobs are taken back whatever their lock",
        "_store/sqlite/sql/claim.sql",
        "jobs.lock_until <= ?1",
        "jobs.lock_until > 0 * ?1",
        f"{OWNERSHIP}::test_a_job_under_a_lock_is_not_taken_back[file]",
        r"assert \['1'\] == \[\]",
    ),
    Bug(
        "a claim answers without having set the lock",
        "_store/redis/lua/lib/short_finish.lua",
        'call("SET", key .. ":lock", want.token, "PX", want.lock)',
        "",
        f"{OWNERSHIP}::test_a_job_under_a_lock_is_not_taken_back[redis-server]",
        r"assert \['1'\] == \[\]",
        kind=KINDS[2],
    ),
    Bug(
        "locks are renewed once and never again",
        "_worker/heartbeat.py",
        "        self._last = time.monotonic()\n\n    def ask",
        '        self._last = float("inf")\n\n    def ask',
        f"{OWNERSHIP}::test_a_lock_is_renewed_for_as_long_as_its_job_runs[redis]",
        r"job stalled more than|assert \[1, ",
    ),
    Bug(
        "a call that is sent again is carried out again",
        "_store/redis/lua/lib/once.lua",
        'if note and note:find(NUMBER .. " ", 1, true) == 1 then',
        "if false then",
        f"{OWNERSHIP}::test_an_add_whose_reply_was_lost_is_done_once[redis]",
        r"assert \d+ == 6",
    ),
    Bug(
        "a released job is put nowhere",
        "_store/redis/lua/lib/place.lua",
        'call(front and "RPUSH" or "LPUSH", q.wait, id)',
        'if not front then call("LPUSH", q.wait, id) end',
        f"{PROCESSES}::test_a_job_that_outlasts_the_grace_is_started_by_the_successor_at_once[redis]",
        "JobNotFound",
    ),
    Bug(
        "a parent is released while children are pending",
        "_store/sqlite/sql/finish.sql",
        "SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'pending'",
        "SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'nothing'",
        f"{FLOWS}::test_the_last_child_releases_the_parent[file]",
        "WAITING",
        kind=KINDS[10],
    ),
    Bug(
        "a schedule is advanced by a run that is not its own",
        "_store/sqlite/verbs/schedule.py",
        "info is None or info.job_id != job.id",
        "info is None",
        f"{OWNERSHIP}::test_a_schedule_that_is_advanced_twice_has_one_run_armed[file]",
        "assert 2 == 1",
    ),
    Bug(
        "bystanders are charged for crashes",
        "_model/crashes.py",
        "blame = blames(limit)[alone]",
        "blame = blames(limit)[1]",
        f"{OWNERSHIP}::test_a_bystander_of_many_crashes_is_never_given_up[file]",
        r"\['job stalled",
    ),
    Bug(
        "the marker that wakes workers is never written",
        "_store/redis/lua/lib/short_add.lua",
        'attempt("ZADD", base .. "marker", "0", "0")',
        "0",
        f"{OWNERSHIP}::test_an_idle_worker_is_woken[redis]",
        r"assert \d\.\d+ < 0\.5",
    ),
    Bug(
        "a call is answered before its COMMIT",
        "_store/sqlite/connection/runner.py",
        "            work.commit(unit)\n",
        "            for call in batch:\n"
        "                if call.loop is not None:\n"
        "                    call.loop.call_soon_threadsafe(_deliver, [call])\n"
        "            time.sleep(0.05)\n"
        "            work.commit(unit)\n",
        f"{OWNERSHIP}::test_what_was_acknowledged_is_in_the_file[sqlite]",
        r"assert \d == \d",
    ),
    Bug(
        "retention lets jobs go that run",
        "_store/sqlite/sql/remove.sql",
        "WHERE queue = ?1 AND state = ?2 AND state IN ('completed', 'failed')\n"
        "    ORDER BY finished_ms, position",
        "WHERE queue = ?1 AND state IN (?2, 'active')\n    ORDER BY finished_ms, position",
        f"{OWNERSHIP}::test_retention_lets_no_job_go_that_runs[file]",
        "assert None is <State.ACTIVE",
    ),
    Bug(
        "on SQLite a finish does not look at the token",
        "_store/sqlite/verbs/finish.py",
        "job.state is not State.ACTIVE or job.token != decision.token",
        "job.state is not State.ACTIVE",
        f"{OWNERSHIP}::test_whoever_lost_a_job_cannot_finish_it[file]",
        "DID NOT RAISE TorilError",
        kind=KINDS[0],
    ),
    Bug(
        "a lock that ran out counts for whoever had it",
        "_store/redis/lua/lib/settle.lua",
        "(lock or fields[RUN] ~= d.run)",
        "lock",
        f"{FENCES}::test_of_two_whose_locks_ran_out_only_who_ran_last_finishes[redis-server]",
        "DID NOT RAISE TorilError",
        kind=KINDS[0],
    ),
    Bug(
        "any lock is renewed",
        "_store/redis/lua/renew.lua",
        'attempt("GET", lock) == held.token',
        'call("EXISTS", lock) == 1',
        f"{FENCES}::test_whoever_lost_a_job_cannot_renew_it[redis-server]",
        r"assert \[\[\], \[\]\] ==",
        kind=KINDS[1],
    ),
    Bug(
        "on SQLite any lock is renewed",
        "_store/sqlite/sql/claim.sql",
        "WHERE jobs.state = 'active' AND jobs.token = asked.value ->> 2;",
        "WHERE jobs.state = 'active';",
        f"{FENCES}::test_whoever_lost_a_job_cannot_renew_it[file]",
        r"assert \[\[\], \[\]\] ==",
        kind=KINDS[1],
    ),
    Bug(
        "the lock of a dead worker stays",
        "_store/redis/lua/recover.lua",
        '  call("DEL", key .. ":lock")\n',
        "",
        f"{LOCKS}::test_a_job_of_a_dead_worker_keeps_neither",
        r"\{'1:lock'\} == set\(\)",
        kind=KINDS[3],
    ),
    Bug(
        "the result is committed before what it frees",
        "_store/sqlite/verbs/finish.py",
        '    unit.run_by_size("finish.complete", rows, 2, now)\n',
        '    unit.run_by_size("finish.complete", rows, 2, now)\n    unit.db.execute("COMMIT")\n    __import__("time").sleep(0.02)\n    unit.db.execute("BEGIN IMMEDIATE")\n',
        f"{FENCES}::test_a_result_and_what_it_frees_are_seen_at_once",
        "assert not True",
        kind=KINDS[4],
    ),
    Bug(
        "a job is completed when it starts",
        "_worker/running.py",
        "        self._host.reporter.started(running.job)\n",
        "        self._host.reporter.started(running.job)\n        self._settle(running, Ended(Outcome(end=End.RETURNED)))\n",
        f"{FENCES}::test_a_job_is_active_for_as_long_as_its_handler_runs[sqlite]",
        r"assert \[.*\] == \[<State.ACTIV",
        kind=KINDS[5],
    ),
    Bug(
        "who has lost a job tells that it completed",
        "_worker/running.py",
        "            if isinstance(error, LockLost | JobNotFound):\n                self._lose(running)\n",
        '            if isinstance(error, LockLost | JobNotFound):\n                self._host.reporter.settled(\n                    running.job, decision, "completed", running.ended, running.seconds\n                )\n',
        "tests/runtime/test_worker_locks.py::test_a_job_that_was_taken_away_cannot_be_finished",
        "TimeoutError",
        kind=KINDS[6],
    ),
    Bug(
        "who was told of nothing waits on",
        "_worker/exchange.py",
        "self._sources.wake(hinted or queues, ",
        "self._sources.wake(hinted, ",
        f"{FENCES}::test_a_job_whose_marker_was_swallowed_is_found_all_the_same",
        "ResultTimeout",
        kind=KINDS[7],
    ),
    Bug(
        "a claim tells the server what time it is",
        "_store/redis/verbs/consume.py",
        'at, _, answers, _ = await server.run(\n        "finish", rows.queues, rows.each, now=now,',
        'at, _, answers, _ = await server.run(\n        "finish", rows.queues, rows.each, '
        'now=now or __import__("time").time_ns() // 1_000_000,',
        f"{FENCES}::test_a_due_time_is_met_by_the_clock_of_the_store[redis-server]",
        "assert 1 == 0",
        kind=KINDS[8],
    ),
    Bug(
        "all that is due becomes ready at once",
        "_store/redis/lua/lib/claims.lua",
        ', "LIMIT", 0, DUE_A_CALL)',
        ")",
        f"{FENCES}::test_a_claim_makes_a_bounded_number_of_due_jobs_ready[redis-server]",
        "assert 0 < 0",
        kind=KINDS[9],
    ),
    Bug(
        "on SQLite all that is due becomes ready at once",
        "_store/sqlite/verbs/claim.py",
        "MAX_DUE = 1_000",
        "MAX_DUE = 1_000_000_000",
        f"{FENCES}::test_a_claim_makes_a_bounded_number_of_due_jobs_ready[file]",
        "assert 0 < 0",
        kind=KINDS[9],
    ),
    Bug(
        "a parent is released by its last but one",
        "_store/redis/lua/lib/family.lua",
        'if call("EXISTS", key .. ":dependencies") == 0 then',
        'if call("SCARD", key .. ":dependencies") <= 1 then',
        f"{FLOWS}::test_the_last_child_releases_the_parent[redis-server]",
        "WAITING",
        kind=KINDS[10],
    ),
    Bug(
        "chance always says the same",
        "_worker/running.py",
        "random=random.random",
        "random=lambda: 0.5",
        f"{FENCES}::test_jobs_that_failed_together_do_not_come_back_together[sqlite]",
        "assert 1 == 20",
        kind=KINDS[11],
    ),
    Bug(
        "who waits to run alone is charged with the crashes of others",
        "_store/sqlite/sql/claim.sql",
        "jobs.alone = jobs.runs AS alone",
        "jobs.alone > 0 AS alone",
        f"{FENCES}::test_a_job_that_waits_to_run_alone_once_more_is_a_bystander[file]",
        r"\(2, True\)",
    ),
)
