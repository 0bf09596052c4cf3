"""The books of one socket: what a frame means for them, how they are taken anew, and when they are told whole."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine
from types import SimpleNamespace
from typing import Any, cast

import pytest

from crosstape.common.bus.connection import BusSettings
from crosstape.common.errors import ExchangeError
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, Level
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.dialect import MalformedFrame
from crosstape.ingestor import assembly, book_handler
from crosstape.ingestor.book_handler import BookHandler, patience
from crosstape.ingestor.book_sync import BookSync
from crosstape.ingestor.feed import Feed
from crosstape.ingestor.settings import IngestorSettings
from services.ingestor.tests.harness import Sent, until


class Books:
    """The books A-USD and B-USD of one socket of Coinbase, which sends each its snapshot first, or of Binance, which
    sends none."""

    def __init__(self, exchange: str = "coinbasepro") -> None:
        instruments = tuple(Instrument(exchange, f"{base}-USD", base, "USD") for base in "AB")
        subscription = type("S", (), {"decode": self.decode, "instruments": instruments})
        self.frames: list[list[BookUpdate] | MalformedFrame] = []
        self.published: list[BookEvent] = []
        self.reconnects: list[str] = []
        self.has_room = asyncio.Event()
        self.has_room.set()
        book, room = staticmethod(self.published.append), staticmethod(self.has_room.wait)
        self.publisher: Any = type("P", (), {"book": book, "room": room, "is_behind": False})
        self.handler = BookHandler(
            dialect_of(exchange), cast(Any, subscription), cast(Any, self), cast(Any, self.publisher)
        )
        self.snapshots: dict[str, BookUpdate] = {}
        self.asked: list[str] = []
        self.feed: Any = type("F", (), {"reconnect": staticmethod(self.reconnects.append), "is_heard": True})
        self.handler.feed = cast(Any, self.feed)

    def decode(self, payload: bytes, time_received: int) -> list[BookUpdate]:
        frame = self.frames.pop(0)
        if isinstance(frame, MalformedFrame):
            raise frame
        return frame

    async def book_snapshot(self, instrument: Instrument) -> BookUpdate:
        """As the exchange's REST, which never answers at once."""
        self.asked.append(instrument.symbol)
        await asyncio.sleep(0)
        if instrument.symbol not in self.snapshots:
            raise ExchangeError("away")
        return self.snapshots[instrument.symbol]

    def told(self) -> list[tuple[str, str]]:
        """What was published: of which market, and whether as `stale`, `snapshot`, `copy` or `update`."""
        kinds = []
        for event in self.published:
            if isinstance(event, BookStale):
                kinds.append("stale")
            else:
                kinds.append("copy" if event.is_copy else "snapshot" if event.is_snapshot else "update")
        return [(event.symbol, kind) for event, kind in zip(self.published, kinds, strict=True)]

    def connect(self) -> None:
        """Have another connection."""
        self.handler.on_disconnected(1)
        self.handler.on_connected(1)

    def get(self, *frame: BookUpdate | MalformedFrame) -> None:
        """Take a frame, of updates or one that is unreadable."""
        self.frames = [frame[0] if isinstance(frame[0], MalformedFrame) else cast(list[BookUpdate], [*frame])]
        self.handler.on_frame(b"", 1)


def book(base: str, *, is_snapshot: bool, ask: Level = ("10", "1")) -> BookUpdate:
    return BookUpdate("coinbasepro", f"{base}-USD", is_snapshot, [("9", "1")], [ask], 0, 1)


@pytest.mark.parametrize("level", [("abc", "1"), ("", "1"), ("nan", "1"), ("5", "1e400"), ("0", "1")])
def test_a_level_that_is_no_number_never_enters_a_book_and_breaks_no_other(level: Level) -> None:
    books = Books()
    books.get(book("A", is_snapshot=True), book("B", is_snapshot=True))
    with pytest.raises(MalformedFrame):
        books.get(book("A", is_snapshot=False, ask=level), book("B", is_snapshot=False))
    books.get(book("A", is_snapshot=False))
    told = [(type(event), event.symbol) for event in books.published[2:]]
    assert told == [(BookStale, "A-USD"), (BookUpdate, "B-USD")]
    assert books.reconnects


def test_a_snapshot_with_a_level_that_is_no_number_is_taken_anew() -> None:
    books = Books()
    with pytest.raises(MalformedFrame):
        books.get(book("A", is_snapshot=True, ask=("abc", "1")))
    assert books.published == []
    assert books.reconnects == ["the book of A-USD broke"]


@contextlib.asynccontextmanager
async def at_work(*parts: Coroutine[Any, Any, None]) -> AsyncIterator[None]:
    """The parts of a handler that end by being cancelled."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)


async def test_a_crossed_book_that_is_fetched_is_taken_anew_alone() -> None:
    def update(base: str, number: int, bid: str = "1") -> BookUpdate:
        return BookUpdate("binance", f"{base}-USD", False, [(bid, "1")], [], 0, 1, number, number)

    books = Books("binance")
    books.snapshots = {
        f"{base}-USD": BookUpdate("binance", f"{base}-USD", True, [("1", "1")], [("5", "1")], 0, 1, None, 1)
        for base in "AB"
    }
    async with at_work(books.handler.fetch_snapshots(), books.handler.publish_copies(0.002)):
        books.get(update("A", 1), update("B", 1))
        await until(lambda: {("A-USD", "copy"), ("B-USD", "copy")} <= {*books.told()})
        books.get(update("A", 2, bid="6"))
        await until(lambda: ("A-USD", "stale") in books.told())
        books.get(update("A", 3))
        books.snapshots["A-USD"] = BookUpdate("binance", "A-USD", True, [("1", "1")], [("7", "1")], 0, 1, None, 3)
        await until(lambda: books.told().count(("A-USD", "snapshot")) == 2)
    assert books.asked == ["A-USD", "B-USD", "A-USD"]
    assert ("B-USD", "stale") not in books.told() and not books.reconnects


async def test_a_book_that_is_crossed_on_a_new_connection_too_is_so_at_the_exchange() -> None:
    books = Books()
    books.get(book("A", is_snapshot=True))
    books.get(book("A", is_snapshot=False, ask=("8", "1")))
    async with at_work(books.handler.publish_copies(0.002)):
        await until(lambda: bool(books.reconnects))
        assert books.told() == [("A-USD", "snapshot"), ("A-USD", "update"), ("A-USD", "stale")]
        books.connect()
        books.get(book("A", is_snapshot=True, ask=("8", "1")))
        await until(lambda: books.told().count(("A-USD", "copy")) > 2)
        books.get(book("A", is_snapshot=False, ask=("8", "0")))
        copies = books.told().count(("A-USD", "copy"))
        await until(lambda: books.told().count(("A-USD", "copy")) > copies + 1)
        assert len(books.reconnects) == 1
        books.get(book("A", is_snapshot=False, ask=("8", "1")))
        await until(lambda: books.told()[-1] == ("A-USD", "stale"))


async def test_a_book_that_never_comes_right_does_not_keep_the_others_from_it(monkeypatch: pytest.MonkeyPatch) -> None:
    books = Books()
    monkeypatch.setattr(book_handler, "time", SimpleNamespace(monotonic=lambda: 0.0))
    for _ in range(3):
        books.connect()
        books.get(book("B", is_snapshot=True))
        for is_snapshot in (True, False):
            with pytest.raises(MalformedFrame):
                books.get(book("A", is_snapshot=is_snapshot, ask=("abc", "1")))
    assert len(books.reconnects) == 1
    books.get(book("B", is_snapshot=False))
    assert books.told()[-1] == ("B-USD", "update")
    monkeypatch.setattr(book_handler, "patience", lambda failures: 0.0)
    async with at_work(books.handler.measure(0.002)):
        await until(lambda: len(books.reconnects) == 2)
        monkeypatch.setattr(book_handler, "STEADY_SECONDS", -1.0)
        monkeypatch.setattr(book_handler, "patience", patience)
        books.connect()
        books.get(book("A", is_snapshot=True))
        await until(lambda: not books.handler._failures)
    with pytest.raises(MalformedFrame):
        books.get(book("A", is_snapshot=False, ask=("abc", "1")))
    assert len(books.reconnects) == 3, "it had come right"


async def test_a_book_that_breaks_three_times_a_minute_has_not_come_right(monkeypatch: pytest.MonkeyPatch) -> None:
    books, now, looks = Books(), 0.0, list[BookSync]()

    def look(book: BookSync) -> None:
        looks.append(book)

    monkeypatch.setattr(book_handler, "time", SimpleNamespace(monotonic=lambda: now))
    monkeypatch.setattr(BookSync, "measure", look)
    async with at_work(books.handler.measure(0.002)):
        for _ in range(9):
            books.connect()
            books.get(book("A", is_snapshot=True), book("B", is_snapshot=True))
            now += 20.0
            looks.clear()
            await until(lambda: len(looks) > 2)
            with pytest.raises(MalformedFrame):
                books.get(book("A", is_snapshot=False, ask=("abc", "1")))
    assert len(books.reconnects) == 7, "patience had grown to 32 s"


def test_a_socket_of_which_no_book_is_right_is_left_before_the_patience_with_each_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(book_handler, "patience", lambda failures: 600.0)
    monkeypatch.setattr(book_handler, "LONGEST_DELAY", 0.0)
    books = Books()
    books.connect()
    books.get(book("A", is_snapshot=True), book("B", is_snapshot=True))
    for base, reconnects in (("A", []), ("B", ["the book of B-USD broke"])):
        with pytest.raises(MalformedFrame):
            books.get(book(base, is_snapshot=False, ask=("abc", "1")))
        assert books.reconnects == reconnects


def test_the_patience_with_a_book_grows_from_nothing_to_ten_minutes() -> None:
    waits = [patience(failures) for failures in (*range(13), 5_000)]
    assert waits[0] == 0 and waits[-2:] == [600, 600]
    assert waits[1:4] == [0.5, 1, 2]


@pytest.mark.parametrize("is_heard", [False, True])
async def test_a_book_whose_socket_is_not_heard_is_not_vouched_for_nor_one_for_which_the_bus_is_behind(
    is_heard: bool,
) -> None:
    books = Books()
    books.get(book("A", is_snapshot=True), book("B", is_snapshot=True))
    books.get(book("B", is_snapshot=False, ask=("8", "1")))
    books.feed.is_heard, books.publisher.is_behind = is_heard, is_heard
    async with at_work(books.handler.publish_copies(0.002)):
        await until(lambda: ("B-USD", "stale") in books.told())  # it is crossed, so all have been looked at
        assert not {("A-USD", "copy"), ("B-USD", "copy")} & {*books.told()}
        books.feed.is_heard, books.publisher.is_behind = True, False
        await until(lambda: ("A-USD", "copy") in books.told())


async def test_a_fetched_book_that_runs_short_is_fetched_anew_while_it_is_shown() -> None:
    books = Books("binance")
    short = BookUpdate("binance", "A-USD", True, [("3", "1")], [("5", "1")], 0, 1, None, 1, bid_horizon="3")
    books.snapshots = {"A-USD": short}
    books.get(BookUpdate("binance", "A-USD", False, [("4", "1")], [], 0, 1, 2, 2))
    async with at_work(books.handler.fetch_snapshots(), books.handler.measure(0.002)):
        await until(lambda: ("A-USD", "update") in books.told())
        books.snapshots["A-USD"] = BookUpdate("binance", "A-USD", True, [("4", "1"), ("2", "1")], [], 0, 1, None, 2)
        await until(lambda: ("A-USD", "copy") in books.told())
    assert [kind for _, kind in books.told()] == ["snapshot", "update", "copy"]
    assert books.handler.books["A-USD"].book.top(9)[0] == [("4", "1"), ("2", "1")]


async def test_the_book_of_which_least_is_known_is_fetched_first_and_one_that_fails_holds_up_no_other() -> None:
    def fetched(base: str, last_id: int) -> BookUpdate:
        return BookUpdate(
            "binance", f"{base}-USD", True, [("3", "1")], [("5", "1")], 0, 1, None, last_id, bid_horizon="3"
        )

    books = Books("binance")
    books.snapshots = {f"{base}-USD": fetched(base, 1) for base in "AB"}
    books.get(*(BookUpdate("binance", f"{base}-USD", False, [], [], 0, 1, 2, 2) for base in "AB"))
    async with at_work(books.handler.fetch_snapshots()):
        await until(lambda: all(book.is_live for book in books.handler.books.values()))
    books.asked.clear()
    del books.snapshots["B-USD"]
    books.snapshots["A-USD"] = fetched("A", 2)
    async with at_work(books.handler.measure(0.002)):
        await until(lambda: books.handler.books["A-USD"].needs_snapshot)  # it runs short
    books.get(BookUpdate("binance", "B-USD", False, [], [], 0, 1, 9, 9))  # and this one broke
    async with at_work(books.handler.fetch_snapshots()):
        await until(lambda: ("A-USD", "copy") in books.told())
    assert books.asked[:2] == ["B-USD", "A-USD"]


async def test_a_snapshot_that_cannot_be_fetched_delays_no_later_one_and_is_asked_for_while_it_is_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(book_handler, "backoff", lambda failures, chance: 600.0)
    books = Books("binance")
    books.snapshots = {"B-USD": BookUpdate("binance", "B-USD", True, [("3", "1")], [], 0, 1, None, 2)}

    def need(base: str) -> None:
        books.get(BookUpdate("binance", f"{base}-USD", False, [], [], 0, 1, 2, 2))

    async with at_work(books.handler.fetch_snapshots()):
        need("A")
        await until(lambda: books.asked == ["A-USD"])
        need("B")
        await until(lambda: books.handler.books["B-USD"].is_live)
        await until(lambda: books.asked == ["A-USD", "B-USD", "A-USD"])
        books.connect()
        need("B")
        await until(lambda: books.handler.books["B-USD"].is_live)
        await until(lambda: not books.handler._wanted)
    assert books.asked == ["A-USD", "B-USD", "A-USD", "B-USD"]


async def test_no_snapshot_is_fetched_for_a_bus_that_has_no_room() -> None:
    books = Books("binance")
    books.has_room.clear()
    books.get(BookUpdate("binance", "A-USD", False, [], [], 0, 1, 2, 2))
    async with at_work(books.handler.fetch_snapshots()):
        for _ in range(100):
            await asyncio.sleep(0)
        assert books.asked == []
        books.has_room.set()
        await until(lambda: books.asked)


@pytest.mark.parametrize("is_heard", [True, False])
async def test_a_loss_on_the_bus_begins_books_without_numbers_anew_once_their_socket_is_heard(is_heard: bool) -> None:
    books = Books()
    books.get(book("A", is_snapshot=True))
    books.feed.is_heard = is_heard
    books.handler.on_bus_lost(5)
    told = [("A-USD", "snapshot"), ("A-USD", "stale"), ("A-USD", "copy")]
    assert books.told() == (told if is_heard else told[:2])
    books.feed.is_heard = True
    async with at_work(books.handler.publish_copies(0.002)):
        await until(lambda: books.told()[:3] == told)


async def test_an_ingestor_tells_a_book_without_numbers_anew_when_the_bus_lost_something(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, losses = Sent(), list[Callable[[str], None]]()

    def producer(settings: BusSettings, *, on_loss: Callable[[str], None]) -> Sent:
        losses.append(on_loss)
        return sent

    monkeypatch.setattr(assembly, "Producer", producer)
    monkeypatch.setattr(Feed, "is_heard", True)
    settings = IngestorSettings(exchange="coinbasepro", symbols=["A-USD"], kafka_bootstrap="nowhere:1")
    instruments = [Instrument("coinbasepro", "A-USD", "A", "USD")]
    rest = type("R", (), {"trade_history": None})
    ingestor = assembly.Ingestor(settings, dialect_of("coinbasepro"), cast(Any, rest), cast(Any, None), instruments)
    (handler,) = ingestor._books
    async with at_work(ingestor._publisher.run()):
        handler.on_frame(b'{"type":"snapshot","product_id":"A-USD","bids":[["1","1"]],"asks":[["2","1"]]}', 1)
        losses[0]("a log started again")
        await until(lambda: len(sent.records) == 3)
    assert [type(record) for record in sent.records] == [BookUpdate, BookStale, BookUpdate]
    assert len({record.stream for record in sent.records}) == 2
