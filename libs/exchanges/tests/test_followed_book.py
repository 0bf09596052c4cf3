"""A book that is followed over the bus is right, or says why not."""

from __future__ import annotations

from crosstape.common.market.book import BookStale, BookUpdate
from crosstape.exchanges.followed_book import FollowedBook


def update(quantity: str, first_id: int | None, last_id: int, *, is_snapshot: bool = False) -> BookUpdate:
    return BookUpdate("binance", "BTC-USDT", is_snapshot, [("1", quantity)], [], 0, 0, first_id, last_id)


def followed() -> FollowedBook:
    book = FollowedBook("binance")
    assert book.broken == "no snapshot yet" and not book.apply(update("5", 9, 9))
    assert book.apply(update("1", None, 10, is_snapshot=True)) and book.broken is None
    return book


def test_what_follows_changes_it_and_what_it_already_holds_does_not() -> None:
    book = followed()
    assert book.apply(update("2", 11, 11)) and not book.apply(update("2", 11, 11))
    assert (book.book.bids, book.broken) == ({"1": "2"}, None)


def test_a_lost_update_breaks_it_until_the_next_snapshot() -> None:
    book = followed()
    assert book.apply(update("3", 13, 13)) and book.broken == "sequence"
    assert not book.apply(update("4", 14, 14))
    assert book.apply(update("4", None, 14, is_snapshot=True)) and book.broken is None


def test_what_its_ingestor_calls_stale_is_broken() -> None:
    book = followed()
    assert book.apply(BookStale("binance", "BTC-USDT", "disconnected", 0)) and book.broken == "disconnected"


def test_a_snapshot_of_a_second_ingestor_that_lags_does_not_turn_it_back() -> None:
    book = followed()
    book.apply(update("2", 11, 11))
    assert not book.apply(update("1", None, 10, is_snapshot=True))
    assert book.book.bids == {"1": "2"}
