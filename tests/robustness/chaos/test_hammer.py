"""Eight processes share one file: none is ever refused, and every count adds up.

TORIL_HAMMER_S makes it longer than the 20 s that are enough on every day.
"""

import asyncio
import json
import os
import sys
from asyncio.subprocess import PIPE
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from tests.robustness.chaos.audit import Audit
from tests.robustness.chaos.fleet import environment
from tests.robustness.chaos.hammer import QUEUES
from toril._model.options import Keep
from toril._model.report import SettingsPatch
from toril._store.sqlite.store import SQLiteStore

pytestmark = pytest.mark.chaos

PROCESSES = 8
SECONDS = float(os.environ.get("TORIL_HAMMER_S", "20"))
# A call waits for the others' commits, in a fair turn: never for long.
SLOWEST_S = 5.0


async def run_hammer(path: Path) -> dict[str, Any]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.robustness.chaos.hammer", str(path), str(SECONDS)),
        stdout=PIPE,
        stderr=PIPE,
        env=environment(),
    )
    out, complaints = await process.communicate()
    assert (process.returncode, complaints) == (0, b""), complaints.decode()
    told: dict[str, Any] = json.loads(out)
    return told


async def prepare(path: Path) -> None:
    """Keep everything, so that there is something to count."""
    store = SQLiteStore(path)
    await store.open()
    for queue in QUEUES:
        patch = SettingsPatch(keep_completed=Keep.of("all"), events_limit=10_000_000)
        await store.configure(queue, patch)
    await store.close()


@pytest.mark.timeout(SECONDS + 60)
async def test_eight_processes_hammer_one_file_without_a_fault(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "jobs.db"
    await prepare(path)

    told = await asyncio.gather(*[run_hammer(path) for _ in range(PROCESSES)])

    done = sum((Counter(one["done"]) for one in told), Counter[str]())
    slowest = max(one["slowest_s"] for one in told)
    with capsys.disabled():
        print(f"\n{dict(done)}, slowest call {slowest:.2f} s")  # noqa: T201
    assert [one["errors"] for one in told] == [[]] * PROCESSES
    with Audit(path) as audit:
        fates = Counter(fate.state for fate in audit.fates().values())
        finishes = audit.finishes()
        assert audit.findings() == []
    assert done["added"] == fates.total()
    assert done["claimed"] == done["finished"] == fates["completed"] == len(finishes)
    assert set(finishes.values()) == {1}
    assert set(fates) <= {"waiting", "completed"}
    assert min(one["done"]["finished"] for one in told) > 0, "one of them never had a turn"
    assert slowest < SLOWEST_S
