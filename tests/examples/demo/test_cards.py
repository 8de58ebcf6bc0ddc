"""The application's own table and folder, which a job may write to twice."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from toril.demo.cards import Card, Cards
from toril.demo.flashcards import Shelf

from .photographs import encoded, picture


@pytest.fixture
def cards(tmp_path: Path) -> Iterator[Cards]:
    table = Cards(tmp_path / "cards.db")
    yield table
    table.close()


@pytest.fixture
def card(cards: Cards) -> int:
    return cards.add("coffee", "coffee.png", 466_706)


def only(cards: Cards) -> Card:
    (card,) = cards.all()
    return card


def test_a_new_card_has_no_picture(cards: Cards, card: int) -> None:
    assert only(cards) == Card(
        id=card,
        term="coffee",
        original="coffee.png",
        bytes_before=466_706,
        state="new",
        bytes_after=None,
        image=None,
        reason=None,
        settled_at=None,
    )


def test_uploading_twice_is_uploading_once(cards: Cards, card: int) -> None:
    cards.uploaded(card, "a.webp", 37_994)
    once = only(cards)
    cards.uploaded(card, "a.webp", 37_994)

    assert only(cards) == once
    assert (once.state, once.image, once.bytes_after) == ("uploaded", "a.webp", 37_994)


def test_the_first_failure_is_the_reason(cards: Cards, card: int) -> None:
    cards.failed(card, "truncated")
    cards.failed(card, "a child failed")

    assert (only(cards).state, only(cards).reason) == ("failed", "truncated")


def test_a_refusal_says_more_than_a_failure(cards: Cards, card: int) -> None:
    cards.failed(card, "no picture")
    cards.refused(card, "not allowed")
    cards.failed(card, "a child failed")

    assert (only(cards).state, only(cards).reason) == ("refused", "not allowed")


def test_an_uploaded_card_stays_uploaded(cards: Cards, card: int) -> None:
    cards.uploaded(card, "a.webp", 1)
    cards.refused(card, "too late")
    cards.failed(card, "too late")

    assert only(cards).state == "uploaded"


def test_a_table_that_exists_is_opened(cards: Cards, card: int, tmp_path: Path) -> None:
    again = Cards(tmp_path / "cards.db")

    assert again.all() == cards.all()
    again.close()


def test_a_shelf_holds_a_file_once(tmp_path: Path) -> None:
    data = encoded(picture())
    shelf = Shelf(tmp_path)

    assert shelf.put(data) == shelf.put(data)
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [data]
