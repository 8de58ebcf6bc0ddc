"""Producers are killed -9 while they add: what they were told is there, and nothing is half there."""

import asyncio
import os
import random
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.robustness.chaos.app import JOBS, PARENTS
from tests.robustness.chaos.audit import Audit
from tests.robustness.chaos.fleet import fleet
from tests.robustness.chaos.ledger import Ledger
from tests.robustness.chaos.producer import SIZE, WIDTH

pytestmark = [
    pytest.mark.chaos,
    pytest.mark.skipif(sys.platform == "win32", reason="needs SIGKILL"),
]

KILLS = 15


@pytest.mark.timeout(60)
async def test_what_a_killed_producer_was_told_is_stored_and_nothing_is_half_stored(
    tmp_path: Path,
) -> None:
    seed = int(os.environ.get("TORIL_SEED", random.SystemRandom().randrange(10**6)))
    rng = random.Random(seed)
    path, ledger = tmp_path / "jobs.db", Ledger(tmp_path / "ledger")
    async with fleet("tests.robustness.chaos.producer", path, ledger.path, count=2) as producers:
        for _ in range(KILLS):
            await producers.all_up(2)
            await asyncio.sleep(rng.uniform(0.01, 0.15))
            await producers.kill(rng.choice(producers.up), ledger)
    lines = ledger.lines()
    ledger.close()

    with Audit(path) as audit:
        stored = Counter(id.rpartition("-")[0] for queue, id in audit.fates() if queue == JOBS)
        stored.update(f"top of {id}" for queue, id in audit.fates() if queue == PARENTS)
        findings = audit.findings()
    told = {line.facts[0] for line in lines if line.word in ("batch", "flow")}
    whole = {name: SIZE if name.startswith("batch") else WIDTH for name in stored}
    halves = {
        name: count
        for name, count in stored.items()
        if not name.startswith("top") and count != whole[name]
    }
    assert told, f"seed {seed}: no producer lived long enough"
    assert told - set(stored) == set(), f"seed {seed}: acknowledged and gone"
    assert halves == {}, f"seed {seed}: stored in part"
    assert findings == [], f"seed {seed}"
