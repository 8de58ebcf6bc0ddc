"""No command ends in a traceback, whatever is stored, and one bad value hides nothing else."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from typer.testing import CliRunner

from tests.robustness.faults.rig import QUEUE
from tests.support.servers import fresh_prefix, shared_server
from toril.cli.root import cli
from toril.errors import TorilError

from .damage import DEEP, damage_anything
from .test_schedules import BAD, SCORES, SOUND
from .test_values import FIELDS, NOTES, OPTIONS, PLACES, SETTINGS, WORDS

ROUNDS = int(os.environ.get("TORIL_ROUNDS", "1"))
JOB = f"{QUEUE}:1"
ALL = (
    ("queues",), ("jobs", QUEUE), ("jobs", QUEUE, "--json"), ("job", JOB), ("job", JOB, "--json"),
    ("workers",), ("schedules",), ("schedules", "--json"), ("doctor",),
)  # fmt: skip
UNSEEN = ("\x1b", "\x9b", "\u202e", "\u2028", "\x00", "\x7f", "\x07", "\r")


@pytest.fixture
def client() -> Iterator[redis.Redis]:
    with shared_server().client() as client:
        yield client


def run(*words: str) -> str:
    """Run a command here; it may refuse with an error of toril's, and do nothing else."""
    done = CliRunner().invoke(cli, words)
    error = done.exception
    assert error is None or isinstance(error, SystemExit | TorilError), (words, repr(error))
    assert not [each for each in UNSEEN if each in done.output], words
    return done.output


def run_all(url: str, prefix: str, commands: tuple[tuple[str, ...], ...] = ALL) -> None:
    where = ("--url", url, "--prefix", prefix) if prefix else ("--url", url)
    for words in commands:
        run(*words, *where)


def a_job(client: redis.Redis, **fields: str) -> str:
    """Store a job that somebody else might have stored, and return its prefix."""
    prefix = fresh_prefix()
    usual = {"name": "x", "data": "{}", "opts": "{}", "timestamp": "1796026691329"}
    client.hset(f"{prefix}:{QUEUE}:1", mapping={**usual, **fields})  # type: ignore[arg-type]
    client.sadd(f"{prefix}::toril:queues", QUEUE)
    return prefix


def fields_of_jobs() -> list[dict[str, str]]:
    controls = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\r\nINJECTED\u202e\u2028\x9b31m\x00\x7f"
    texts = ("data", "progress", "returnvalue", "stacktrace", "failedReason", "pb", "rjk", "deid")
    return [
        *({"opts": opts} for opts in OPTIONS),
        *(
            {field: text, "finishedOn": "1"}
            for field in texts
            for text in (DEEP, controls, "{", "")
        ),
        *NOTES.values(),
    ]


@pytest.mark.timeout(90)
@pytest.mark.parametrize("state", ["failed", "wait", "delayed"])
def test_jobs_of_any_fields_are_shown(client: redis.Redis, state: str) -> None:
    prefix = a_job(client)
    base = f"{prefix}:{QUEUE}"
    every = fields_of_jobs()
    for number, fields in enumerate(every):
        given = {name.replace("{p}", prefix): text for name, text in fields.items()}
        client.hset(f"{base}:{number}", mapping={"name": "x", "data": "{}", "opts": "{}", **given})  # type: ignore[arg-type]
        if state == "wait":
            client.rpush(f"{base}:wait", str(number))
        else:
            client.zadd(f"{base}:{state}", {str(number): 4096.0 * 1_796_026_691_329})
    where = ("--url", shared_server().url, "--prefix", prefix)
    listed = run("jobs", QUEUE, "--limit", "500", *where)
    assert len(listed.splitlines()) == len(every) + 1
    run("jobs", QUEUE, "--limit", "500", "--json", *where)
    run("doctor", *where)
    # Each field once; all of them in the long run.
    shown = every if ROUNDS > 1 else every[:60] + every[60::4]
    for fields in shown if state == "failed" else ():
        run("job", f"{QUEUE}:{every.index(fields)}", *where)


def test_jobs_are_listed_beside_one_with_bad_options(client: redis.Redis, tmp_path: Path) -> None:
    prefix = a_job(client, opts=DEEP)
    client.hset(f"{prefix}:{QUEUE}:2", mapping={"name": "y", "data": "{}", "opts": "{}"})
    client.rpush(f"{prefix}:{QUEUE}:wait", "1", "2")
    listed = run("jobs", QUEUE, "--url", shared_server().url, "--prefix", prefix)
    assert [line.split()[1] for line in listed.splitlines()[1:]] == ["y", "x"]


def test_scores_and_settings_of_any_kind_are_shown(client: redis.Redis) -> None:
    for command, key, *rest in [*list(PLACES.values())[:: 1 if ROUNDS > 1 else 3], *SETTINGS]:
        prefix = a_job(client)
        client.execute_command(command, f"{prefix}:{QUEUE}:{key}", *rest)
        run_all(shared_server().url, prefix, (("queues",), ("jobs", QUEUE), ("doctor",)))


def test_workers_and_schedules_of_any_kind_are_shown(client: redis.Redis) -> None:
    prefix = a_job(client)
    for number, fields in enumerate(BAD.values()):
        client.zadd(f"{prefix}:{QUEUE}:repeat", {f"s{number}": 1})
        client.hset(f"{prefix}:{QUEUE}:repeat:s{number}", mapping=fields)  # type: ignore[arg-type]
    for score in SCORES:
        client.zadd(f"{prefix}:{QUEUE}:repeat", {score: score})  # type: ignore[dict-item]
        client.hset(f"{prefix}:{QUEUE}:repeat:{score}", mapping=SOUND)  # type: ignore[arg-type]
    scores = {"w": "inf", "v": "-inf", "u": "1e300", "t": "5", "\x1b[2J": "9e12"}
    client.zadd(f"{prefix}::toril:workers", scores)  # type: ignore[arg-type]
    note = (
        '{"id":"u","name":"\\u001b[2J","host":"\\u202e","pid":999999999999999999,"queues":["q"],'
        '"concurrency":1,"started_ms":-9000000000000000000,"seen_ms":1}'
    )
    for worker, text in {"w": DEEP, "v": "[" * 100_000, "u": note, "t": "5"}.items():
        client.set(f"{prefix}::toril:worker:{worker}", text)
    run_all(shared_server().url, prefix)


@pytest.mark.timeout(60 * ROUNDS)
@pytest.mark.parametrize("seed", range(4 * ROUNDS))
def test_commands_on_a_server_of_any_values(client: redis.Redis, seed: int) -> None:
    rng = random.Random(seed)
    prefix = a_job(client)
    base = f"{prefix}:{QUEUE}"
    for field in rng.sample(FIELDS, 6):
        client.hset(f"{base}:1", field, rng.choice(WORDS))
    for key in ("meta", "toril:settings", "metrics:completed", "repeat:s"):
        names = ("concurrency", "max", "duration", "keep_failed", "count", "prevTS", "ic", "every")
        client.hset(f"{base}:{key}", mapping={n: rng.choice(WORDS) for n in rng.sample(names, 4)})  # type: ignore[arg-type]
    for key in ("wait", "active", "repeat", "failed", "delayed", "events", "id", "limiter"):
        if rng.random() < 0.15:
            client.set(f"{base}:{key}", "x")
        elif key in ("failed", "delayed", "repeat"):
            score = rng.choice(("inf", "-inf", "1e300", "-5", "0"))
            client.zadd(f"{base}:{key}", {rng.choice(("1", "s", "", ":")): score})  # type: ignore[dict-item]
    run_all(shared_server().url, prefix)


@pytest.mark.timeout(60 * ROUNDS)
@pytest.mark.parametrize("seed", range(4 * ROUNDS))
def test_commands_on_a_file_of_any_rows(tmp_path: Path, stocked: bytes, seed: int) -> None:
    rng = random.Random(seed)
    path = tmp_path / "jobs.db"
    path.write_bytes(stocked)
    path.chmod(0o600)
    damage_anything(path, rng)
    run_all(f"sqlite:///{path}", "")
