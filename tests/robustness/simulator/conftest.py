"""`pytest tests/robustness/simulator --seed N` runs the world of that seed, and prints what happened in it.

A run takes a fifth of the seeds, another fifth each day. With TORIL_ROUNDS=n it takes n times all
of them, and so worlds that no shorter run has seen.
"""

import os

import pytest

SEEDS = 300
A_DAY = 60
# So many in one test, so that each stays far below its time limit.
BLOCK = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run the world of this seed only")


def _seeds() -> range:
    if rounds := os.environ.get("TORIL_ROUNDS"):
        return range(int(rounds) * SEEDS)
    first = int(os.environ["PYTEST_DAY"]) * A_DAY % SEEDS
    return range(first, first + A_DAY)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--seed", default=None)
        seeds = _seeds() if seed is None else range(seed, seed + 1)
        blocks = [seeds[at : at + BLOCK] for at in range(0, len(seeds), BLOCK)]
        names = [f"{block[0]}-{block[-1]}" for block in blocks]
        metafunc.parametrize("seeds", blocks, ids=names)
