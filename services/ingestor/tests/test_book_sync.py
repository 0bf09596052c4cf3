"""Book synchronisation by Binance's rules (fetched snapshot) and by the rules of a socket that sends its own."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookStale, BookUpdate, Level, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.followed_book import FollowedBook
from crosstape.ingestor.book_sync import COPY_DEPTH, LEAST_LEVELS, BookSync

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
    assert book.copy(5) is None


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


def streamed_book(exchange: str) -> BookSync:
    return BookSync(dialect_of(exchange), Instrument(exchange, "BTC-USD", "BTC", "USD"))


def streamed(exchange: str, bids: list[Level], *, is_snapshot: bool = False, last_id: int | None = None) -> BookUpdate:
    return BookUpdate(exchange, "BTC-USD", is_snapshot, bids, [("999999", "1")], 0, 1, last_id=last_id)


def levels(best: int, count: int) -> list[Level]:
    """`count` bids, one apart."""
    return [(str(best - number), "1") for number in range(count)]


def copied(book: BookSync) -> BookUpdate:
    copy = book.copy(1)
    assert copy is not None
    return copy


def test_a_book_whose_sockets_own_snapshot_was_lost_is_broken_once_updates_come_without_it() -> None:
    def update(seconds: float) -> BookUpdate:
        return replace(streamed("bybit", [("1", "1")], last_id=7), time_received=int(seconds * 1e9))

    book = streamed_book("bybit")
    assert book.update(update(100)) == [] and book.update(update(100.5)) == []
    assert not book.is_broken, "it may be on its way"
    book.update(update(102))
    assert book.is_broken
    book.restart("connected", 103)
    assert book.update(update(103)) == []
    assert not book.is_broken


def test_a_book_whose_snapshot_was_lost_need_not_wait_for_another_update() -> None:
    book = streamed_book("bybit")
    assert book.check(90 * NANOSECONDS) == [] and not book.is_broken, "nothing may be told of it"
    book.update(replace(streamed("bybit", [("1", "1")], last_id=7), time_received=100 * NANOSECONDS))
    assert book.check(101 * NANOSECONDS) == [] and not book.is_broken
    assert book.check(102 * NANOSECONDS) == [] and book.is_broken


def test_what_is_published_between_a_snapshot_and_the_end_of_its_book_is_one_stream() -> None:
    book = streamed_book("coinbasepro")
    told = book.update(streamed("coinbasepro", [("1", "1")], is_snapshot=True))
    told += book.update(streamed("coinbasepro", [("1", "2")]))
    told += [copied(book), *book.restart("disconnected", 5)]
    assert len({event.stream for event in told}) == 1 and told[0].stream
    assert [event.is_copy for event in told if isinstance(event, BookUpdate)] == [False, False, True]
    (again,) = book.update(streamed("coinbasepro", [("1", "1")], is_snapshot=True))
    assert again.stream != told[0].stream


def test_a_snapshot_on_a_living_connection_begins_another_stream_that_readers_follow() -> None:
    book, reader = streamed_book("bybit"), FollowedBook("bybit")
    for number, is_snapshot in ((1_000, True), (1_001, False), (1, True), (2, False)):
        levels = [(str(number), "1")]
        for event in book.update(streamed("bybit", levels, is_snapshot=is_snapshot, last_id=number)):
            reader.apply(event, 0)
        assert (reader.book.bids, reader.broken) == (book.book.bids, None)
    assert set(reader.book.bids) == {"1", "2"}


def test_who_begins_with_a_copy_sees_the_best_levels_and_none_behind_one_that_it_does_not_know() -> None:
    book, early, late = streamed_book("coinbasepro"), FollowedBook("coinbasepro"), FollowedBook("coinbasepro")
    (first,) = book.update(streamed("coinbasepro", levels(100_000, 3_000), is_snapshot=True))
    early.apply(first, 0)
    for reader in (early, late):
        reader.apply(copied(book), 0)
    taken = [(price, "0") for price, _ in levels(100_000, COPY_DEPTH - 10)]
    for changes in ([("97500", "2")], taken):
        for event in book.update(streamed("coinbasepro", changes)):
            assert early.apply(event, 0) and late.apply(event, 0)
        for depth in (1, 25, COPY_DEPTH):
            true_bids, _ = book.book.top(depth)
            assert early.book.top(depth)[0] == true_bids
            bids, _ = late.book.top(depth)
            assert bids == true_bids[: len(bids)]
    assert len(late.book.top(COPY_DEPTH)[0]) == 10
    late.apply(copied(book), 1)
    assert late.book.top(COPY_DEPTH) == book.book.top(COPY_DEPTH)


def limited(last: int, bids: list[Level]) -> BookUpdate:
    """A fetched snapshot that holds not all bids."""
    return BookUpdate("binance", "BTC-USDT", True, bids, [("999999", "1")], 0, 1, None, last, bid_horizon=bids[-1][0])


def test_a_fetched_book_that_runs_short_is_fetched_anew_and_shows_nothing_beyond_what_it_knows() -> None:
    book, reader = binance_book(), FollowedBook("binance")
    book.update(diff(1, 4, [("100000", "1")]))
    for event in book.snapshot(limited(4, levels(100_000, COPY_DEPTH))):
        reader.apply(event, 0)
    book.measure()
    assert not book.needs_snapshot
    taken = [(price, "0") for price, _ in levels(100_000, COPY_DEPTH - LEAST_LEVELS + 1)]
    for event in book.update(diff(5, 5, [("98500", "1"), *taken])):
        reader.apply(event, 0)
    book.measure()
    assert book.is_live and book.needs_snapshot
    left = levels(100_000, COPY_DEPTH)[len(taken) :]
    assert copied(book).bids == left == reader.book.top(COPY_DEPTH)[0]
    for event in book.update(diff(6, 6, [(left[0][0], "0")])):
        reader.apply(event, 0)
    assert book.snapshot(limited(3, left)) == [], "older than what was kept"
    assert book.is_live and book.needs_snapshot and book.book.top(1)[0] == left[1:2]
    (wider,) = book.snapshot(limited(5, levels(int(left[0][0]), COPY_DEPTH)))
    assert reader.apply(wider, 0)
    assert reader.book.top(COPY_DEPTH) == book.book.top(COPY_DEPTH)
    assert book.book.top(COPY_DEPTH)[0] == levels(int(left[1][0]), COPY_DEPTH - 1)
    book.measure()
    assert book.is_live and not book.needs_snapshot
    (event,) = book.update(diff(7, 7))
    assert reader.apply(event, 0) and reader.broken is None


def test_a_book_that_breaks_while_it_is_fetched_anew_waits_for_the_snapshot() -> None:
    book = binance_book()
    book.update(diff(1, 4, [("3", "1")]))
    book.snapshot(limited(4, [("3", "1")]))
    book.measure()
    assert book.needs_snapshot
    book.update(diff(5, 5))
    (stale,) = book.update(diff(7, 7))
    assert isinstance(stale, BookStale)
    assert [event.last_id for event in book.snapshot(limited(6, [("3", "1")])) if isinstance(event, BookUpdate)] == [
        6,
        7,
    ]


def test_what_the_bus_lost_or_brings_late_reaches_no_book_without_numbers() -> None:
    book, reader = streamed_book("coinbasepro"), FollowedBook("coinbasepro")
    told = book.update(streamed("coinbasepro", [("1", "1")], is_snapshot=True))
    late = book.update(streamed("coinbasepro", [("1", "2")]))
    told += book.update(streamed("coinbasepro", [("1", "3")]))
    told += [*book.lost_on_bus(5), *late]
    for event in told:
        reader.apply(event, 0)
    assert (reader.book.bids, reader.broken) == ({"1": "3"}, None)
    assert [event.reason for event in told if isinstance(event, BookStale)] == ["bus"]


def test_a_book_with_numbers_shows_by_itself_what_the_bus_lost() -> None:
    book = binance_book()
    assert book.lost_on_bus(1) == []
    book.update(diff(1, 4))
    book.snapshot(fetched(4))
    assert book.lost_on_bus(5) == [] and book.is_live
