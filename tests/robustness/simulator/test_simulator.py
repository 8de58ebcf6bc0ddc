"""Whatever befalls a world of workers, every job comes to one end, and all comes to rest."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Sequence

import pytest

from tests.robustness.simulator.plan import make_plan
from tests.robustness.simulator.world import shrink, simulate

LINES = 120


def test_worlds_keep_every_promise(seeds: Sequence[int], pytestconfig: pytest.Config) -> None:
    for seed in seeds:
        plan = make_plan(seed)
        end = simulate(plan)
        if end.fault is not None:
            pytest.fail(_tell(seed), pytrace=False)
        if pytestconfig.getoption("--seed", default=None) is not None:
            sys.stdout.write("\n".join([str(plan), *end.trace, ""]))


def _tell(seed: int) -> str:
    plan = shrink(make_plan(seed), 5.0)
    end = simulate(plan)
    trace = "\n".join(end.trace[-LINES:])
    again = f"pytest tests/robustness/simulator --seed {seed}"
    return f"{end.fault}\n\nagain: {again}\n\nwith what is needed for it:\n{plan}\n\n{trace}"


def test_a_seed_always_makes_the_same_world() -> None:
    assert _mark(7) == _mark(7)


def test_a_seed_makes_the_same_world_in_another_process() -> None:
    code = "from tests.robustness.simulator.test_simulator import _mark; print(_mark(8))"
    answer = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONHASHSEED": "4711", "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
        timeout=15,
    )

    assert answer.stdout.strip() == _mark(8)


def _mark(seed: int) -> str:
    end = simulate(make_plan(seed))
    assert end.fault is None
    return hashlib.sha256("\n".join(end.trace).encode()).hexdigest()
