"""A book that is followed over the bus is right, or says why not."""

from __future__ import annotations

from crosstape.common.market.book import BookStale, BookUpdate
from crosstape.exchanges.followed_book import PAUSE_NS, SILENT_NS, FollowedBook, said_at


def update(
    quantity: str, first_id: int | None, last_id: int, *, exchange: str = "binance", stream: str = "a.1"
) -> BookUpdate:
    return BookUpdate(exchange, "BTC-USDT", False, [("1", quantity)], [], 0, 0, first_id, last_id, stream=stream)


def snapshot(
    quantity: str, last_id: int, *, exchange: str = "binance", stream: str = "a.1", is_copy: bool = False
) -> BookUpdate:
    levels = [("1", quantity)]
    return BookUpdate(exchange, "BTC-USDT", True, levels, [], 0, 0, None, last_id, stream=stream, is_copy=is_copy)


def stale(reason: str, stream: str = "a.1") -> BookStale:
    return BookStale("binance", "BTC-USDT", reason, 0, stream)


def followed(exchange: str = "binance") -> FollowedBook:
    book = FollowedBook(exchange)
    assert book.broken == "no snapshot yet" and not book.apply(update("5", 9, 9), 0)
    assert book.apply(snapshot("1", 10, exchange=exchange), 0) and book.broken is None
    return book


def test_what_follows_changes_it_and_what_it_already_holds_does_not() -> None:
    book = followed()
    assert book.apply(update("2", 11, 11), 1) and not book.apply(update("2", 11, 11), 2)
    assert (book.book.bids, book.broken, book.heard) == ({"1": "2"}, None, 2)


def test_a_lost_update_breaks_it_until_the_next_copy() -> None:
    book = followed()
    assert book.apply(update("3", 13, 13), 0) and book.broken == "sequence"
    assert not book.apply(update("4", 14, 14), 0)
    assert book.apply(snapshot("4", 14, is_copy=True), 0) and book.broken is None


def test_what_its_ingestor_calls_stale_is_broken_until_any_ingestors_next_snapshot() -> None:
    book = followed()
    assert book.apply(stale("disconnected"), 0) and book.broken == "disconnected"
    assert not book.apply(update("7", 11, 11, stream="b.1"), 0)
    assert book.apply(snapshot("2", 9, stream="b.1", is_copy=True), 0)
    assert (book.book.bids, book.broken) == ({"1": "2"}, None)
    assert not book.apply(snapshot("1", 10, stream="a.2"), 0), "the first one is connected again"


def test_who_has_no_book_yet_is_told_why_and_since_when() -> None:
    book = FollowedBook("binance")
    assert book.apply(stale("disconnected"), 5) and (book.broken, book.heard) == ("disconnected", 5)
    assert not book.apply(stale("sequence", "b.1"), 6)
    assert book.apply(snapshot("2", 9, stream="b.2", is_copy=True), 7) and book.broken is None


def test_another_ingestor_changes_nothing_while_the_followed_one_is_right() -> None:
    book = followed()
    book.apply(update("2", 11, 11), 5)
    for event in (
        update("9", 12, 12, stream="b.1"),
        snapshot("9", 20, stream="b.1"),
        snapshot("9", 20, stream="b.1", is_copy=True),
        stale("disconnected", "b.1"),
    ):
        assert not book.apply(event, 6)
    assert (book.book.bids, book.broken, book.heard) == ({"1": "2"}, None, 5)


def test_an_ingestor_that_died_without_a_word_is_left_for_another_ones_copy() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1", is_copy=True), SILENT_NS)
    assert not book.apply(update("2", 21, 21, stream="b.1"), SILENT_NS + 1)
    assert book.apply(snapshot("2", 22, stream="b.1", is_copy=True), SILENT_NS + 1)
    assert not book.apply(update("9", 11, 11), SILENT_NS + 2)
    assert (book.book.bids, book.broken, book.heard) == ({"1": "2"}, None, SILENT_NS + 1)


def test_the_next_process_of_an_ingestor_that_was_killed_is_followed_from_its_beginning() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS)
    assert book.apply(snapshot("2", 22, stream="c.1"), PAUSE_NS + 1)
    assert (book.book.bids, book.broken) == ({"1": "2"}, None)


def test_the_next_process_of_an_ingestor_that_was_killed_a_moment_ago_is_followed_as_soon_as_that_shows() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="c.1"), PAUSE_NS // 2)
    assert not book.apply(update("3", 21, 21, stream="c.1"), PAUSE_NS)
    assert book.apply(update("4", 22, 22, stream="c.1"), PAUSE_NS + 1)
    assert (book.book.bids, book.broken, book.heard) == ({"1": "4"}, None, PAUSE_NS + 1)
    assert not book.apply(update("9", 11, 11), PAUSE_NS + 2)
    assert book.apply(update("5", 23, 23, stream="c.1"), PAUSE_NS + 3) and book.book.bids == {"1": "5"}


def test_a_second_ingestor_that_starts_beside_one_that_speaks_again_is_not_followed() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS // 2)
    assert book.apply(update("3", 11, 11), PAUSE_NS)
    assert not book.apply(update("4", 21, 21, stream="b.1"), 3 * PAUSE_NS)
    assert (book.book.bids, book.broken) == ({"1": "3"}, None)


def test_who_started_beside_one_that_says_its_end_is_followed_without_a_wait() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS // 2)
    assert book.apply(stale("disconnected"), PAUSE_NS // 2 + 1) and book.broken == "disconnected"
    assert book.apply(update("4", 21, 21, stream="b.1"), PAUSE_NS // 2 + 2)
    assert (book.book.bids, book.broken) == ({"1": "4"}, None)


def test_what_breaks_beside_is_not_followed() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS // 2)
    assert not book.apply(update("4", 23, 23, stream="b.1"), PAUSE_NS // 2 + 1), "one was lost"
    assert not book.apply(update("5", 24, 24, stream="b.1"), 2 * PAUSE_NS)
    assert (book.book.bids, book.broken) == ({"1": "1"}, None)


def test_an_ingestor_that_comes_and_goes_takes_no_book_from_a_quiet_one_that_is_right() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS)
    for number in (2, 3, 4):
        assert not book.apply(snapshot("2", 20, stream=f"b.{number}"), 3 * PAUSE_NS + number)
        assert not book.apply(stale("disconnected", f"b.{number}"), 3 * PAUSE_NS + number)
    assert book.apply(update("2", 11, 11), 4 * PAUSE_NS) and book.broken is None


def test_the_next_stream_of_an_ingestor_ends_the_one_before_though_its_end_comes_late_or_never() -> None:
    book = followed()
    assert book.apply(snapshot("2", 20, stream="a.2"), 1)
    assert not book.apply(stale("disconnected", "a.1"), 2)
    assert not book.apply(snapshot("1", 10, stream="a.1", is_copy=True), SILENT_NS + 2)
    assert book.apply(update("3", 21, 21, stream="a.2"), 2)
    assert (book.book.bids, book.broken) == ({"1": "3"}, None)


def test_a_copy_that_comes_behind_the_end_of_its_stream_does_not_revive_it() -> None:
    book = followed()
    assert book.apply(stale("disconnected"), 1)
    assert not book.apply(snapshot("1", 10, is_copy=True), 1) and book.broken == "disconnected"
    assert book.apply(snapshot("2", 20, stream="a.2"), 2) and book.broken is None


def test_a_copy_sets_right_what_no_number_shows() -> None:
    def levels(*bids: tuple[str, str], is_copy: bool = False, bid_horizon: str | None = None) -> BookUpdate:
        is_snapshot = is_copy or len(bids) > 1
        return BookUpdate(
            "coinbasepro", "BTC-USD", is_snapshot, list(bids), [], 0, 0,
            stream="a.1", is_copy=is_copy, bid_horizon=bid_horizon,
        )  # fmt: skip

    book = FollowedBook("coinbasepro")
    book.apply(levels(("100", "5"), ("99", "1"), ("98", "1")), 0)
    cut = levels(("100", "5"), ("99", "1"), is_copy=True, bid_horizon="99")
    assert not book.apply(cut, 1), "it knows more of the same book"
    assert book.apply(levels(("99", "2")), 2)  # and an update that removes 100 is lost
    assert book.apply(levels(("99", "2"), ("98", "1"), is_copy=True), 3)
    assert (book.book.bids, book.broken) == ({"99": "2", "98": "1"}, None)
    assert book.apply(levels(("99", "2"), is_copy=True), 4), "one that removes 98 was lost"
    assert (book.book.bids, book.broken) == ({"99": "2"}, None)


def test_an_event_is_as_old_as_it_says_though_its_record_had_to_wait_for_the_broker() -> None:
    event = BookUpdate("x", "A-B", False, [], [], 0, 60_000_000_000)
    assert said_at(event, 90_000) == 60_000_000_000
    assert said_at(event, 50_000) == 50_000_000_000, "its clock may have been set back"
    assert said_at(BookStale("x", "A-B", "disconnected", 70_000_000_000), 90_000) == 70_000_000_000


def test_a_copy_of_the_followed_stream_is_taken_only_for_levels_that_are_not_known() -> None:
    book = followed()
    assert not book.apply(snapshot("9", 10, is_copy=True), 1) and book.heard == 1
    few = [("8", "1"), ("7", "1")]
    cut = BookUpdate("binance", "BTC-USDT", True, few, [], 0, 0, None, 20, stream="b.1", is_copy=True, bid_horizon="7")
    book.apply(stale("disconnected"), 1)
    assert book.apply(cut, 2) and not book.apply(cut, 3)
    gone = BookUpdate("binance", "BTC-USDT", False, [("8", "0"), ("5", "1")], [], 0, 0, 21, 21, stream="b.1")
    assert book.apply(gone, 4)
    assert book.book.top(9)[0] == [("7", "1")], "whether there is one at 6 is not known"
    wider = BookUpdate(
        "binance", "BTC-USDT", True, [("7", "1"), ("6", "1")], [], 0, 0, None, 21, stream="b.1", is_copy=True,
        bid_horizon="6",
    )  # fmt: skip
    assert book.apply(wider, 5)
    assert book.book.top(9)[0] == [("7", "1"), ("6", "1")]


def test_after_events_may_be_missing_nothing_that_was_kept_beside_counts() -> None:
    book = followed()
    assert not book.apply(snapshot("2", 20, stream="b.1"), PAUSE_NS // 2)
    book.lose("the bus restarted")
    assert not book.apply(update("4", 21, 21, stream="b.1"), 2 * PAUSE_NS) and book.broken == "the bus restarted"
    assert book.apply(snapshot("4", 21, stream="b.1", is_copy=True), 2 * PAUSE_NS) and book.broken is None
