"""Deduplication: the rules for several jobs with one key, and their stored form."""

from dataclasses import dataclass
from typing import Any

from toril.errors import ConfigError

from .checks import MAX_WHOLE, check_flag, check_text
from .stored import whole
from .times import Duration, Millis, to_ms


@dataclass(frozen=True, slots=True)
class Dedup:
    """At most one job per key: what happens to a second one while the first holds the key.

    With a key alone, the first job holds it until it has ended.

    Args:
        key: The key; it belongs to a queue.
        ttl: Hold the key for this duration instead of until the end of the job.
        extend: Every duplicate starts the `ttl` again.
        replace: The newest job replaces the first one while that is delayed. With `extend` and
            `delay` this is a debounce.
        reschedule: A duplicate moves a delayed first job to the duplicate's delay.
        keep_last: Never run two at once; run the newest duplicate after the active job.

    Raises:
        ConfigError: The key is empty or too long, or a value has the wrong type.

    Example:
        ```python
        await reindex.using(dedup=Dedup("shop-7", ttl="5m")).enqueue(7)
        ```
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
        """How long the key is held, in ms; None: until the job has ended."""
        if self.ttl is None or self.keep_last:
            return None
        return to_ms(self.ttl, field="dedup.ttl") or None


def to_wire(dedup: Dedup) -> dict[str, object]:
    """Return it as BullMQ stores it."""
    made: dict[str, object] = {"id": dedup.key}
    if dedup.ttl is not None:
        made["ttl"] = to_ms(dedup.ttl, field="dedup.ttl")
    names = {"extend": dedup.extend, "replace": dedup.replace, "reschedule": dedup.reschedule}
    names["keepLastIfActive"] = dedup.keep_last
    return made | {name: True for name, on in names.items() if on}


def from_wire(value: dict[str, Any]) -> Dedup:
    """Return the value that BullMQ stores as a `Dedup`."""
    ttl = value.get("ttl")
    return Dedup(
        str(value["id"]),
        ttl=None if ttl is None else f"{whole(ttl, None)}ms",
        extend=bool(value.get("extend")),
        replace=bool(value.get("replace")),
        reschedule=bool(value.get("reschedule")),
        keep_last=bool(value.get("keepLastIfActive")),
    )
