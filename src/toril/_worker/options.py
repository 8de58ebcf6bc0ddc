"""What a worker may be told, checked once: the options, and the terms that they make.

Never here: running anything.
"""

import os
import secrets
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, TypedDict, cast

from toril._model.checks import check_text, check_whole, shown
from toril._model.options import BackoffFunction, RateLimit, unknown_option
from toril._model.record import check_queue_name
from toril._model.times import Duration, Millis, parse_rate, to_ms
from toril.errors import ConfigError

# How many jobs of a queue run at once where nobody says otherwise.
CONCURRENCY = 1

Queues = Mapping[str, int] | Iterable[str] | str


class WorkerOptions(TypedDict, total=False):
    """The options of `app.worker(...)`.

    A duration is a number of seconds, a `timedelta`, or text such as "500ms", "1h30m" or "2d".
    """

    queues: Queues | None
    """Names of queues, or how many jobs of each run at once: {"mail": 20, "images": 2}.
    Default: every queue with a handler."""
    concurrency: int | None
    """How many jobs of each queue run at once. Default: what processors declare, else 1."""
    total: int | None
    """How many jobs run at once in all queues together. Default: no limit."""
    name: str | None
    """The name of the worker, shown by `toril workers`. Default: host and process id."""
    lock: Duration
    """How long a silent worker keeps its jobs; at least 100 ms. Default: 30 seconds."""
    grace: Duration
    """How long `stop` waits for running jobs. Default: 25 seconds."""
    stalled_interval: Duration
    """How often to look for jobs of dead workers and passed deadlines. Default: 5 seconds."""
    max_stalls: int
    """How many crashes of its worker a job survives. Default: 3."""
    unknown_limit: Duration
    """How long a job of an unknown name is requeued before it fails. Default: 1 day."""
    rate: str | None
    """Starts per time, such as "10/1s", for queues that have no limit of their own."""
    processes: int | None
    """How many child processes may run, for `isolation="process"`. Default: as many as such
    jobs run at once."""
    backoff: BackoffFunction | None
    """The wait before another attempt of jobs whose backoff is a name: a function
    `(attempt, error, job)` that returns a duration, or None to give up."""
    block_warning: Duration
    """Report an event loop that is blocked for longer. Default: 1 second."""
    max_block: Duration
    """Give up when the event loop is blocked for longer. Default: 10 minutes."""
    version: str | None
    """The version of your code, such as "v2.14". Default: $TORIL_VERSION, else none."""


NAMES = frozenset(WorkerOptions.__annotations__)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerSettings:
    """The options of a worker, checked.

    Units    *_ms in ms, *_s in seconds.
    """

    id: str
    name: str
    host: str
    total: int | None = None
    lock_ms: Millis = 30_000
    grace_s: float = 25.0
    stalled_s: float = 5.0
    max_stalls: int = 3
    unknown_limit_ms: Millis = 24 * 3_600_000
    rate: RateLimit | None = None
    processes: int | None = None
    backoff: BackoffFunction | None = None
    block_warning_s: float = 1.0
    max_block_s: float = 600.0
    version: str | None = None


def read_options(given: WorkerOptions) -> WorkerSettings:
    """Check what a user gave, and lay it over the defaults.

    Raises   ConfigError: an unknown option, or a value that cannot hold.
    """
    for option in given:
        if option not in NAMES:
            raise unknown_option(option, NAMES, where="a worker")
    host = socket.gethostname()
    name = _name(given, host)
    total, processes = given.get("total"), given.get("processes")
    share(given, {})
    return WorkerSettings(
        id=_new_id(name),
        name=name,
        host=host,
        total=None if total is None else check_whole(total, "total", 1),
        max_stalls=check_whole(given.get("max_stalls", 3), "max_stalls", 0),
        rate=_rate(given.get("rate")),
        processes=None if processes is None else check_whole(processes, "processes", 1),
        backoff=_function(given.get("backoff"), "backoff"),
        version=_version(given.get("version")),
        **_durations(given),
    )


def _version(given: object) -> str | None:
    """Return the version of the code: what was given, else what the environment says."""
    version = given or os.environ.get("TORIL_VERSION")
    return check_text(version, "version") if version else None


def renamed(settings: WorkerSettings, given: WorkerOptions) -> WorkerSettings:
    """Return the settings with the name and id of a worker of this process, after a fork."""
    name = _name(given, settings.host)
    return replace(settings, name=name, id=_new_id(name))


def _name(given: WorkerOptions, host: str) -> str:
    named: object = given.get("name")
    return check_text(named, "name") if named else f"{host}-{os.getpid()}"


def _new_id(name: str) -> str:
    # Two workers may share a name, and a process may have several.
    return f"{name}-{secrets.token_hex(3)}"


def queue_names(queues: object) -> Iterable[str]:
    """Return the queues that a user named for a worker.

    Raises   ConfigError: it is neither a name nor a list of names, nor numbers by name.
    """
    if isinstance(queues, str):
        return (queues,)
    if isinstance(queues, Iterable):
        return cast("Iterable[str]", queues)
    raise ConfigError(
        f"queues={shown(queues)} must be a name, a list of names, or numbers by name",
        field="queues",
        value=queues,
        hint='name them as text, such as app.worker("emails") or app.worker(["emails", "sms"])',
    )


def share(given: WorkerOptions, known: Mapping[str, int | None]) -> dict[str, int]:
    """Return how many jobs of each queue may run at once.

    Shape    known: the queues that have handlers, with how many jobs those want to run at once.
             A number for the queue comes first, then the worker's `concurrency`, then `known`.
    Raises   ConfigError: a name that is none, or a number below 1.
    """
    each = given.get("concurrency")
    if each is not None:
        check_whole(each, "concurrency", 1)
    queues = given.get("queues")
    if isinstance(queues, Mapping):
        counts = cast("Mapping[str, object]", queues)
    else:
        names = known if queues is None else queue_names(queues)
        checked = [check_queue_name(queue) for queue in names]
        counts = {queue: each or known.get(queue) or CONCURRENCY for queue in checked}
    return {
        check_queue_name(queue): check_whole(most, f"concurrency of queue {queue!r}", 1)
        for queue, most in counts.items()
    }


def _durations(given: WorkerOptions) -> dict[str, Any]:
    lock_ms = to_ms(given.get("lock", 30), field="lock")
    if lock_ms < 100:
        raise ConfigError(
            f"lock={given.get('lock')!r} is too short to be renewed in time",
            field="lock",
            value=given.get("lock"),
            hint="give at least 100ms; 30s is the default",
        )
    stalled_ms = to_ms(given.get("stalled_interval", 5), field="stalled_interval")
    if stalled_ms < 10:
        raise ConfigError(
            f"stalled_interval={given.get('stalled_interval')!r} is too short: it would look "
            "without a pause",
            field="stalled_interval",
            value=given.get("stalled_interval"),
            hint="give at least 10ms; 5s is the default",
        )
    max_block = to_ms(given.get("max_block", 600), field="max_block")
    return {
        "lock_ms": lock_ms,
        "grace_s": to_ms(given.get("grace", 25), field="grace") / 1000,
        "stalled_s": stalled_ms / 1000,
        "unknown_limit_ms": to_ms(given.get("unknown_limit", 86_400), field="unknown_limit"),
        "block_warning_s": to_ms(given.get("block_warning", 1), field="block_warning") / 1000,
        # A loop that merely blocks for a lock's time must never be given up.
        "max_block_s": max(max_block, 3 * lock_ms + 1_000) / 1000,
    }


def _function(value: object, field: str) -> Any:
    if value is None or callable(value):
        return value
    raise ConfigError(f"{field}={shown(value)} must be a function", field=field, value=value)


def _rate(text: str | None) -> RateLimit | None:
    if text is None:
        return None
    most, window_ms = parse_rate(text)
    return RateLimit(most, window_ms)
