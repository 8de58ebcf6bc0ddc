"""The TypeScript types of the API are those of the server's dataclasses."""

from tools.api_types import TYPES, written


def test_the_types_are_the_servers() -> None:
    assert TYPES.read_text("utf-8") == written(), "run: python -m tools.api_types"
