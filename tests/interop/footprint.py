"""What stands in Redis under a prefix, made comparable: ids, tokens, stacks and times by name.

Times become how far they lie from the start, so that delays must be multiples of a minute.
"""

import json
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

STEP_MS = 20_000
TTL_STEP_MS = 10_000
# A delay is counted from when a side came to it, which a loaded machine puts off.
SLACK_MS = 1_000
NEAR_MS = 6 * 3_600_000
YEARS_MS = 3 * 365 * 86_400_000
_UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
_TIME = re.compile(r"(?<![\d.])1\d{12}(?:\.\d+)?(?![\d])")
_JSON = {"data", "opts", "parent", "progress", "returnvalue", "returnValue"}
_LENGTHS = {"delay", "offset"}

Flat = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Difference:
    """Something that stands differently in the two footprints; None: not there."""

    path: str
    node: Any
    toril: Any

    def __str__(self) -> str:
        return f"{self.path}: node {self.node!r}, toril {self.toril!r}"


class Footprint:
    """Everything under a prefix, as paths and values.

    Shape    "cards:1.opts.attempts": a field of JSON in a field of a hash; "cards:wait[0]": an
             element of a list; "cards:delayed(1)": the score of a member; "cards:1:lock": a
             string; "… ttl": a time to live; "cards:events#removed 1": what the first such event
             of that job says, "#2 removed 1" of the second; "cards:events order": all of them.
    """

    def __init__(self, keys: Any, prefix: str, *, since: float | None = None) -> None:
        self._keys = keys
        self._prefix = prefix
        self._now = (since or time.time()) * 1000
        self._names = self._ids()

    def read(self) -> Flat:
        """Read all of it."""
        flat: Flat = {}
        for key in sorted(map(str, self._keys.scan_iter(f"{self._prefix}:*", count=1000))):
            path = self._text(key.removeprefix(f"{self._prefix}:"))
            flat |= dict(self._key(key, path))
            ttl = int(self._keys.pttl(key))
            if ttl >= 0:
                step = math.ceil(ttl / TTL_STEP_MS) * TTL_STEP_MS // 1000
                flat[f"{path} ttl"] = f"≤ {step} s"
        return flat

    def _ids(self) -> dict[str, str]:
        """Name the jobs of flows, whose ids are random, by what they are called."""
        names: dict[str, str] = {}
        for key in map(str, self._keys.scan_iter(f"{self._prefix}:*", count=1000)):
            found = _UUID.search(key.rpartition(":")[2])
            if found and self._keys.type(key) == "hash":
                names[found[0]] = f"<{self._keys.hget(key, 'name')}>"
        return names

    def _key(self, key: str, path: str) -> Iterator[tuple[str, Any]]:
        kind = self._keys.type(key)
        match kind:
            case "hash":
                for field, value in self._keys.hgetall(key).items():
                    yield from self._field(f"{path}.{self._text(field)}", field, value)
            case "list":
                for at, value in enumerate(self._keys.lrange(key, 0, -1)):
                    yield f"{path}[{at}]", self._text(value)
            case "set":
                for value in self._keys.smembers(key):
                    yield f"{path}{{{self._text(value)}}}", True
            case "zset":
                for member, score in self._keys.zrange(key, 0, -1, withscores=True):
                    yield f"{path}({self._text(member)})", self._score(path, score)
            case "stream":
                yield from self._events(path, [fields for _, fields in self._keys.xrange(key)])
            case "none":
                pass  # taken meanwhile, as a marker is by a worker
            case _:
                value = self._keys.get(key)
                yield path, "<token>" if path.endswith(":lock") else self._text(str(value))

    def _field(self, path: str, field: str, value: str) -> Iterator[tuple[str, Any]]:
        if field == "stacktrace":
            for at, _ in enumerate(json.loads(value)):
                yield f"{path}[{at}]", "<stack>"
        elif field in _JSON:
            yield from self._inside(path, json.loads(value))
        elif field in _LENGTHS:
            yield path, self._length(field, float(value))
        else:
            yield path, self._text(value)

    def _inside(self, path: str, value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict) and value:
            for name, one in sorted(value.items()):
                yield from self._inside(f"{path}.{name}", one)
        elif isinstance(value, str | int | float) and not isinstance(value, bool):
            field = path.rpartition(".")[2]
            if field in _LENGTHS and "backoff" not in path and isinstance(value, int | float):
                yield path, self._length(field, value)
                return
            text = self._text(str(value))
            yield path, text if text != str(value) else value
        else:
            yield path, value

    def _events(self, path: str, events: list[Mapping[str, str]]) -> Iterator[tuple[str, Any]]:
        order: list[str] = []
        for fields in events:
            word = f"{fields['event']} {self._text(fields.get('jobId', ''))}".rstrip()
            again = sum(each.endswith(word) for each in order)
            order.append(f"{again + 1} {word}" if again else word)
            yield f"{path}#{order[-1]}", self._event(fields)
        yield f"{path} order", order

    def _event(self, fields: Mapping[str, str]) -> dict[str, Any]:
        made: dict[str, Any] = {}
        for name, value in fields.items():
            is_json = (fields["event"], name) in {
                ("progress", "data"),
                ("completed", "returnvalue"),
            }
            made[name] = json.loads(value) if is_json else self._text(value)
        return dict(sorted(made.items()))

    def _score(self, path: str, score: float) -> Any:
        if path.endswith(":delayed"):
            return f"{self._when(score // 4096)} · {int(score % 4096)}"
        # A marker may lie a fraction behind its delayed job.
        return self._when(score) if score > 1e12 and score < 1e14 else int(score)

    def _text(self, text: str) -> str:
        text = _UUID.sub(lambda found: self._names.get(found[0], "<uuid>"), text)
        text = text.replace(self._prefix, "<prefix>")
        return _TIME.sub(lambda found: self._when(float(found[0])), text)

    def _length(self, field: str, ms: float) -> Any:
        """Give a length of time; what reaches from now to a time of a calendar is no number."""
        if field == "offset":
            return "<offset>" if ms else 0
        # Node counts from when it was told to; that may take it a moment.
        whole = round((ms + SLACK_MS) / 60_000) * 60_000
        return int(whole) if 0 <= whole - ms <= SLACK_MS else f"<{field}>"

    def _when(self, at: float) -> str:
        away = at - self._now
        if abs(away) > YEARS_MS:
            return str(int(at))
        if int(at) % 60_000 == 0 and abs(away) > NEAR_MS:
            # A time of a calendar, the same for everybody; now may be a whole minute too.
            return f"<{int(at)}>"
        steps = round(away / STEP_MS) * STEP_MS // 1000
        return f"<now {steps:+d} s>" if steps else "<now>"


def differences(node: Flat, toril: Flat) -> list[Difference]:
    """List what stands differently; events that only one side has do not count as an order."""
    found = [
        Difference(path, node.get(path), toril.get(path))
        for path in sorted(node.keys() | toril.keys())
        if not path.endswith(" order") and node.get(path) != toril.get(path)
    ]
    for path in sorted(path for path in node.keys() & toril.keys() if path.endswith(" order")):
        one = [word for word in node[path] if word in toril[path]]
        other = [word for word in toril[path] if word in node[path]]
        if one != other:
            found.append(Difference(path, one, other))
    return found
