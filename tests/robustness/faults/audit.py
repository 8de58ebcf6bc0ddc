"""An audit of queues in Redis by plain commands: it trusts nothing that the store says of itself."""

from collections import Counter, defaultdict
from collections.abc import Iterable
from typing import Any

import redis

from tests.robustness.chaos.ledger import Fate, Key
from tests.support.keyspace import keys

LISTS = ("wait", "paused", "active")
ZSETS = ("prioritized", "delayed", "waiting-children", "completed", "failed")
NAMES = {"wait": "waiting", "paused": "waiting"}


class Audit:
    """The queues under a prefix, read when nobody writes to them."""

    def __init__(self, client: "redis.Redis", prefix: str, queues: Iterable[str]) -> None:
        self._client = client
        self._prefix = prefix
        self._keys = set(keys(client, prefix))
        # All in two calls: a storm leaves tens of thousands of jobs.
        names = sorted(self._keys)
        kinds = dict(zip(names, self._ask([("TYPE", name) for name in names]), strict=True))
        names = [name for name in names if kinds[name] == "hash"]
        hashes = self._ask([("HGETALL", name) for name in names])
        self._hashes: dict[str, dict[str, str]] = dict(zip(names, hashes, strict=True))
        self._waiting_for: dict[str, set[str]] = {}
        self._places = {queue: self._places_of(queue) for queue in queues}

    def _ask(self, commands: Iterable[tuple[str, ...]]) -> list[Any]:
        with self._client.pipeline(transaction=False) as pipe:
            for command in commands:
                pipe.execute_command(*command)
            return list(pipe.execute())

    def _places_of(self, queue: str) -> dict[str, list[str]]:
        """Say in which of its lists and sets each id of a queue stands."""
        base = f"{self._prefix}:{queue}:"
        places: dict[str, list[str]] = defaultdict(list)
        for name in LISTS:
            for job_id in self._client.lrange(base + name, 0, -1):
                places[job_id].append(NAMES.get(name, name))
        for name in ZSETS:
            for job_id in self._client.zrange(base + name, 0, -1):
                places[job_id].append(name)
        return places

    def fates(self) -> dict[Key, Fate]:
        """Give how each job stands."""
        return {
            (queue, job_id): self._fate(queue, job_id, states)
            for queue, places in self._places.items()
            for job_id, states in places.items()
        }

    def _fate(self, queue: str, job_id: str, states: list[str]) -> Fate:
        fields = self._hashes.get(f"{self._prefix}:{queue}:{job_id}", {})
        return Fate("+".join(states), int(fields.get("atm", 0)), fields.get("failedReason"))

    def finishes(self) -> Counter[Key]:
        """Count how often each job was told finished."""
        told: Counter[Key] = Counter()
        for queue in self._places:
            for _, fields in self._client.xrange(f"{self._prefix}:{queue}:events"):
                if fields["event"] in ("completed", "failed"):
                    told[queue, fields["jobId"]] += 1
        return told

    def findings(self) -> list[str]:
        """Give everything that is not as it must be when nothing runs."""
        found: list[str] = []
        for queue, places in self._places.items():
            base = f"{self._prefix}:{queue}:"
            for job_id, states in places.items():
                found += self._of_job(base, job_id, states)
            found += self._of_queue(base, places)
        return found

    def _of_job(self, base: str, job_id: str, states: list[str]) -> list[str]:
        key, found = base + job_id, list[str]()
        if len(states) != 1:
            found.append(f"{key} is {' and '.join(states)}")
        if key not in self._hashes:
            return [*found, f"{key} is {states[0]} and has no hash"]
        fields = self._hashes[key]
        finished = states[0] in ("completed", "failed")
        never_ran = fields.get("failedReason", "").startswith("cancelled")
        if finished and not ({"finishedOn"} if never_ran else {"finishedOn", "processedOn"}) <= {
            *fields
        }:
            found.append(f"{key} is {states[0]} without its times")
        if finished and f"{key}:dependencies" in self._keys and states[0] == "completed":
            found.append(f"{key} completed before its children")
        if states[0] == "waiting-children" and f"{key}:dependencies" not in self._keys:
            found.append(f"{key} waits for nothing")
        parent = fields.get("parentKey")
        if parent and finished and key in self._pending(parent):
            found.append(f"{key} finished and its parent still waits for it")
        return found

    def _pending(self, parent: str) -> set[str]:
        if parent not in self._waiting_for:
            self._waiting_for[parent] = set(self._client.smembers(f"{parent}:dependencies"))
        return self._waiting_for[parent]

    def _of_queue(self, base: str, places: dict[str, list[str]]) -> list[str]:
        found: list[str] = []
        jobs = {base + job_id for job_id in places}
        for key in sorted(self._keys):
            if not key.startswith(base):
                continue
            name = key.removeprefix(base)
            if key.endswith(":lock"):
                found.append(f"{key} is left over")
            elif "timestamp" in self._hashes.get(key, {}) and key not in jobs:
                found.append(f"{key} is a job in no state")
            elif name.startswith("de:"):
                found += self._of_dedup(key, base, places)
        stray = self._client.smembers(f"{base}stalled") - {
            job_id for job_id, states in places.items() if "active" in states
        }
        if stray:
            found.append(f"{base}stalled has {sorted(stray)}, which do not run")
        return found

    def _of_dedup(self, key: str, base: str, places: dict[str, list[str]]) -> list[str]:
        owner = self._client.get(key)
        if self._client.pttl(key) == -1 and places.get(str(owner)) in (
            None, ["completed"], ["failed"]
        ):  # fmt: skip
            return [f"{key} is held by {base}{owner}, which is over"]
        return []
