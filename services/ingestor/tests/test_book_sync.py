"""Book synchronisation by Binance's rules (fetched snapshot) and by the rules of a socket that sends its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import BookStale, BookUpdate, Level, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.ingestor.book_sync import BookSync

INSTRUMENT = Instrument("binance", "BTCUSDT", "BTC", "USDT")


def diff(first: int, last: int, bids: list[Level] | None = None) -> BookUpdate:
    return BookUpdate("binance", "BTC-USDT", False, bids or [(str(last), "1")], [], 0, 1, first, last)


def fetched(last: int, bids: list[Level] | None = None) -> BookUpdate:
    return BookUpdate("binance", "BTC-USDT", True, bids or [], [("999999", "1")], 0, 1, None, last)


def binance_book() -> BookSync:
    return BookSync(dialect_of("binance"), INSTRUMENT)


def test_updates_wait_for_the_snapshot_and_those_it_contains_are_skipped() -> None:
    book = binance_book()
    assert book.update(diff(1, 4)) == []
    assert book.update(diff(5, 9)) == []
    assert book.needs_snapshot
    events = book.snapshot(fetched(6))
    assert [(event.is_snapshot, event.last_id) for event in events if isinstance(event, BookUpdate)] == [
        (True, 6),
        (False, 9),
    ]
    assert book.is_live and not book.needs_snapshot


def test_a_snapshot_older_than_the_buffered_updates_is_not_shown_and_another_is_needed() -> None:
    book = binance_book()
    book.update(diff(20, 24))
    book.update(diff(25, 29))
    assert book.snapshot(fetched(6)) == []
    assert not book.is_live
    assert book.needs_snapshot
    assert [event.last_id for event in book.snapshot(fetched(26)) if isinstance(event, BookUpdate)] == [26, 29]


def test_a_missing_update_makes_the_book_stale_at_once_and_once() -> None:
    book = binance_book()
    book.update(diff(1, 4))
    book.snapshot(fetched(4))
    assert len(book.update(diff(5, 6))) == 1
    (stale,) = book.update(diff(8, 9))
    assert isinstance(stale, BookStale) and stale.reason == "sequence"
    assert book.update(diff(10, 11)) == []
    assert book.needs_snapshot
    assert book.restart("disconnected", 5) == [], "it is known to be stale"


def test_a_lost_connection_makes_a_live_book_stale() -> None:
    book = binance_book()
    book.update(diff(1, 4))
    book.snapshot(fetched(4))
    (stale,) = book.restart("disconnected", 5)
    assert isinstance(stale, BookStale)
    assert book.whole(5, 10) is None


def test_a_snapshot_that_comes_after_its_connection_ended_makes_no_book() -> None:
    book = binance_book()
    book.update(diff(1, 4))
    book.restart("disconnected", 5)
    assert book.snapshot(fetched(4)) == []
    assert not book.is_live
    book.restart("connected", 6)
    book.update(diff(7, 9))
    assert book.needs_snapshot
    assert [event.last_id for event in book.snapshot(fetched(8)) if isinstance(event, BookUpdate)] == [8, 9]


@given(st.lists(st.tuples(st.integers(1, 12), st.integers(0, 3)), min_size=1, max_size=40), st.data())
def test_a_reader_of_the_events_has_the_exchanges_book_or_knows_that_it_has_none(
    changes: list[tuple[int, int]], data: st.DataObject
) -> None:
    truth = OrderBook()
    reader = OrderBook()
    is_reader_live = False
    book = binance_book()
    for number, (price, quantity) in enumerate(changes, start=1):
        update = diff(number, number, [(str(price), str(quantity))])
        truth.apply(update)
        if data.draw(st.booleans(), label="lost"):
            continue
        events = book.update(update)
        if book.needs_snapshot and data.draw(st.booleans(), label="fetch"):
            events = events + book.snapshot(fetched(number, list(truth.bids.items())))
        for event in events:
            if isinstance(event, BookStale):
                is_reader_live = False
            else:
                is_reader_live = is_reader_live or event.is_snapshot
                reader.apply(event)
        if is_reader_live:
            assert reader.bids == truth.bids
