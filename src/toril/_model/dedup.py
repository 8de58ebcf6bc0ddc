"""Deduplication: how a job makes others with its key unnecessary, and its stored form."""

from dataclasses import dataclass
from typing import Any

from toril.errors import ConfigError

from .checks import MAX_WHOLE, check_flag, check_text
from .stored import whole
from .times import Duration, Millis, to_ms


@dataclass(frozen=True, slots=True)
class Dedup:
    """At most one job per key: what becomes of a second one while the first still counts.

    With a key alone the first counts until it has finished. With `ttl` it counts for so long.
    `extend` starts the time again with every duplicate, `replace` lets the newest one win while
    the first is delayed (both together: debounce), `reschedule` moves a delayed first one to the
    new delay, and `keep_last` runs the newest duplicate after the active one.
    """

    key: str
    ttl: Duration | None = None
    extend: bool = False
    replace: bool = False
    reschedule: bool = False
    keep_last: bool = False

    def __post_init__(self) -> None:
        object.__setattr__(self, "key", check_text(self.key, "dedup.key", most=MAX_WHOLE))
        if not self.key:
            raise ConfigError("dedup.key is empty", field="dedup.key", value=self.key)
        if self.ttl is not None:
            to_ms(self.ttl, field="dedup.ttl")
        for name in ("extend", "replace", "reschedule", "keep_last"):
            check_flag(getattr(self, name), f"dedup.{name}")

    @property
    def ttl_ms(self) -> Millis | None:
        """Give the time that the key is held, in ms; None: until the job has finished."""
        if self.ttl is None or self.keep_last:
            return None
        return to_ms(self.ttl, field="dedup.ttl") or None


def to_wire(dedup: Dedup) -> dict[str, object]:
    """Write it as BullMQ stores it."""
    made: dict[str, object] = {"id": dedup.key}
    if dedup.ttl is not None:
        made["ttl"] = to_ms(dedup.ttl, field="dedup.ttl")
    names = {"extend": dedup.extend, "replace": dedup.replace, "reschedule": dedup.reschedule}
    names["keepLastIfActive"] = dedup.keep_last
    return made | {name: True for name, on in names.items() if on}


def from_wire(value: dict[str, Any]) -> Dedup:
    """Read what BullMQ stores."""
    ttl = value.get("ttl")
    return Dedup(
        str(value["id"]),
        ttl=None if ttl is None else f"{whole(ttl, None)}ms",
        extend=bool(value.get("extend")),
        replace=bool(value.get("replace")),
        reschedule=bool(value.get("reschedule")),
        keep_last=bool(value.get("keepLastIfActive")),
    )
