"""A user's folder, and the command line run in it as a user runs it."""

from pathlib import Path

import pytest

from tests.support.desk import Desk

from .stock import KINDS, Stock, stock

APP = """
from toril import Toril

app = Toril("sqlite:///jobs.db")

@app.task
def hello(name: str) -> str:
    return f"hello {name}"

@app.task(queue="mail", concurrency=3)
async def send(to: str) -> None: ...
"""


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.fixture
def app(desk: Desk) -> Path:
    return desk.write("app.py", APP)


@pytest.fixture(params=KINDS)
def place(desk: Desk, request: pytest.FixtureRequest) -> Stock:
    return stock(desk, request.param)


@pytest.fixture
def file(desk: Desk) -> Stock:
    return stock(desk, "sqlite")
