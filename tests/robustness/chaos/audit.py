"""An audit of a store's file, by SQL of its own: it trusts nothing that the store says of itself."""

from collections import Counter
from pathlib import Path
from typing import Any

import apsw

from tests.robustness.chaos.ledger import Fate, Key

ORPHANS = {
    "children without a parent": """
        SELECT children.id FROM children LEFT JOIN jobs ON jobs.key = children.parent
        WHERE jobs.key IS NULL""",
    "children that are pending though they finished": """
        SELECT children.id FROM children
        JOIN queues ON queues.name = children.queue
        JOIN jobs ON jobs.queue = queues.key AND jobs.id = children.id
        WHERE children.outcome = 'pending' AND jobs.state IN ('completed', 'failed')""",
    "pending children that do not exist": """
        SELECT children.id FROM children
        LEFT JOIN queues ON queues.name = children.queue
        LEFT JOIN jobs ON jobs.queue = queues.key AND jobs.id = children.id
        WHERE children.outcome = 'pending' AND jobs.key IS NULL""",
    "parents that wait for nothing": """
        SELECT id FROM jobs WHERE state = 'waiting-children' AND NOT EXISTS (
            SELECT 1 FROM children WHERE parent = jobs.key AND outcome = 'pending')""",
    "parents that ran before their children": """
        SELECT jobs.id FROM jobs JOIN children ON children.parent = jobs.key
        WHERE jobs.state = 'completed' AND children.outcome = 'pending'""",
    "logs without a job": "SELECT line FROM logs WHERE job NOT IN (SELECT key FROM jobs)",
    "tries without a job": "SELECT run FROM tries WHERE job NOT IN (SELECT key FROM jobs)",
    "dedup keys without a job": """
        SELECT word FROM dedup WHERE expires_ms IS NULL AND NOT EXISTS (
            SELECT 1 FROM jobs WHERE jobs.queue = dedup.queue AND jobs.id = dedup.id)""",
    "dedup keys of finished jobs": """
        SELECT word FROM dedup JOIN jobs ON jobs.queue = dedup.queue AND jobs.id = dedup.id
        WHERE dedup.expires_ms IS NULL AND jobs.state IN ('completed', 'failed')""",
    "jobs held by nobody": """
        SELECT id FROM jobs WHERE state = 'active'
            AND (owner IS NULL OR owner NOT IN (SELECT key FROM processes))""",
    "counters that differ": """
        SELECT name FROM queues WHERE
            completed != (SELECT count(*) FROM jobs
                WHERE queue = queues.key AND state = 'completed')
            OR failed != (SELECT count(*) FROM jobs
                WHERE queue = queues.key AND state = 'failed')""",
    "events whose numbers have a gap": """
        SELECT name FROM queues WHERE (
            SELECT count(*) > 0 AND (
                sum(last - first + 1) != max(last) - min(first) + 1 OR max(last) != queues.events
            )
            FROM events WHERE queue = queues.key
        )""",
    "rows that refer to nothing": "PRAGMA foreign_key_check",
    "damage": "SELECT * FROM pragma_integrity_check WHERE integrity_check != 'ok'",
}


class Audit:
    """A store's file, read when nobody writes to it."""

    def __init__(self, path: Path) -> None:
        self._db = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)

    def __enter__(self) -> "Audit":
        return self

    def __exit__(self, *_: object) -> None:
        self._db.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        return list(self._db.execute(query))

    def findings(self) -> list[str]:
        """Give everything that is not as it must be."""
        found = ((what, self.rows(query)) for what, query in ORPHANS.items())
        return [f"{len(rows)} {what}: {rows[:5]}" for what, rows in found if rows]

    def fates(self) -> dict[Key, Fate]:
        """Give how each job stands."""
        rows = self.rows(
            "SELECT queues.name, jobs.id, state, attempts_made, reason "
            "FROM jobs JOIN queues ON queues.key = jobs.queue"
        )
        return {(queue, id): Fate(state, made, reason) for queue, id, state, made, reason in rows}

    def finishes(self) -> Counter[Key]:
        """Count how often each job was told finished, by the events that were committed."""
        rows = self.rows(
            "SELECT queues.name, each.value ->> 'job_id' "
            "FROM events JOIN queues ON queues.key = events.queue, json_each(body) AS each "
            "WHERE each.value ->> 'kind' IN ('completed', 'failed')"
        )
        return Counter((queue, id) for queue, id in rows)
