"""`pytest tests/simulator --seed N` runs the world of that seed, and prints what happened in it."""

import pytest

SEEDS = 300
# So many in one test, so that each stays far below its time limit.
BLOCK = 5


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--seed", type=int, default=None, help="run the world of this seed only")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "seeds" in metafunc.fixturenames:
        seed = metafunc.config.getoption("--seed", default=None)
        every = range(0, SEEDS, BLOCK)
        blocks = [range(first, first + BLOCK) for first in every] if seed is None else [[seed]]
        names = [f"{block[0]}-{block[-1]}" for block in blocks]
        metafunc.parametrize("seeds", blocks, ids=names)
