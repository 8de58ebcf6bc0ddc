"""BullMQ's options of a job in toril's words."""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from tests.interop.sides import Opts
from toril import Dedup
from toril._model.record import Ref

POLICIES = {
    "failParentOnFailure": "fail",
    "continueParentOnFailure": "continue",
    "ignoreDependencyOnFailure": "ignore",
    "removeDependencyOnFailure": "remove",
}
_SAME = {"attempts", "priority", "lifo", "backoff"}
_RENAMED = {"jobId": "id", "keepLogs": "keep_logs", "stackTraceLimit": "keep_stack"}


def options(given: Opts, *, child: bool = False) -> dict[str, Any]:
    """Say BullMQ's options of a job in toril's words."""
    made: dict[str, Any] = {"parent_on_fail": "wait"} if child or "parent" in given else {}
    for name, value in given.items():
        match name:
            case _ if name in _SAME:
                made[name] = _backoff(value) if name == "backoff" else value
            case _ if name in _RENAMED:
                made[_RENAMED[name]] = value
            case _ if name in POLICIES:
                made |= {"parent_on_fail": POLICIES[name]} if value else {}
            case "delay":
                made["delay"] = f"{value}ms"
            case "timestamp":
                made["created_at"] = datetime.fromtimestamp(value / 1000, UTC)
            case "sizeLimit":
                made["max_size"] = value
            case "telemetry":
                if "metadata" in value:
                    made["headers"] = json.loads(value["metadata"])
                if value.get("omitContext"):
                    made["omit_context"] = True
            case "removeOnComplete":
                made["keep_completed"] = _keep(value)
            case "removeOnFail":
                made["keep_failed"] = _keep(value)
            case "deduplication":
                made["dedup"] = _dedup(value)
            case "parent":
                made["parent"] = Ref(value["queue"].rpartition(":")[2], value["id"])
            case _:
                raise KeyError(name)
    return made


def _backoff(value: Any) -> Any:
    return {"type": "fixed", "delay": value} if isinstance(value, int) else value


def _keep(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value
    made = {"count": value["count"]} if "count" in value else {}
    return made | ({"age": f"{value['age']}s"} if "age" in value else {})


def _dedup(value: Mapping[str, Any]) -> Dedup:
    return Dedup(
        value["id"],
        ttl=f"{value['ttl']}ms" if "ttl" in value else None,
        extend=value.get("extend", False),
        replace=value.get("replace", False),
        reschedule=value.get("reschedule", False),
        keep_last=value.get("keepLastIfActive", False),
    )
