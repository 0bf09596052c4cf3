"""Two ingestors of one market on one topic, by the rules of every exchange: who follows the topic is right, or says
that it is not."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate, Level, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.exchanges import dialect_of
from crosstape.exchanges.followed_book import SILENT_NS, FollowedBook
from crosstape.exchanges.kraken.book import cut_and_checksum
from crosstape.ingestor.book_sync import BookSync
from crosstape.ingestor.feed import HEARD_SECONDS

HEARD_NS = int(HEARD_SECONDS * NANOSECONDS)
EXCHANGES = ("binance", "kraken", "coinbasepro", "okx", "bybit")
State = tuple[dict[str, str], dict[str, str]]


def state_of(book: OrderBook) -> State:
    return dict(book.bids), dict(book.asks)


class Exchange:
    """The truth, and the frames of a socket. No two of its `states` are alike."""

    def __init__(self, name: str):
        self.name = name
        self._book = OrderBook()
        self._number = 0
        self._changes = 0
        self.frames: list[dict[str, Any]] = []
        self.states: list[State] = []
        self.change("1", "9", is_there=True)

    def change(self, bid: str, ask: str, *, is_there: bool) -> None:
        """A bid comes or goes, and an ask has another quantity."""
        self._changes += 1
        self._number += 1
        bids: list[Level] = [(bid, str(self._changes) if is_there else "0")]
        asks: list[Level] = [(ask, str(self._changes))]
        self._book.apply(BookUpdate(self.name, "BTC-USD", False, bids, asks, 0, 0))
        self.states.append(state_of(self._book))
        self.frames.append(self._fields(bids, asks, is_snapshot=False))

    def restart(self) -> None:
        """Bybit's service: what is connected gets a snapshot, with the number 1."""
        if self.name == "bybit":
            self._number = 1
            self.frames.append(self.snapshot())

    def snapshot(self) -> dict[str, Any]:
        return self._fields(*self._book.top(100), is_snapshot=True)

    def _fields(self, bids: list[Level], asks: list[Level], *, is_snapshot: bool) -> dict[str, Any]:
        number = self._number
        own: dict[str, dict[str, Any]] = {
            "binance": {"first_id": None if is_snapshot else number, "last_id": number},
            "kraken": {"checksum": cut_and_checksum(self._book, 1_000)},
            "coinbasepro": {},
            "okx": {"previous_id": -1 if is_snapshot else number - 1, "last_id": number},
            "bybit": {"last_id": number},
        }
        return {"is_snapshot": is_snapshot, "bids": bids, "asks": asks, **own[self.name]}


class Ingestor:
    """One connection after the other, and what is told of them: it reads late, but in order."""

    def __init__(self, exchange: Exchange):
        self.exchange = exchange
        instrument = Instrument(exchange.name, "BTCUSD", "BTC", "USD")
        self.sync = BookSync(dialect_of(exchange.name), instrument)
        self._read = 0
        self.is_connected = False
        self.vouches_until: int | None = None

    def _update(self, fields: dict[str, Any]) -> BookUpdate:
        return BookUpdate(self.exchange.name, "BTC-USD", time=0, time_received=0, **fields)

    @property
    def is_behind(self) -> bool:
        return self._read < len(self.exchange.frames)

    def connect(self) -> list[BookEvent]:
        told = self.sync.restart("connected", 0)
        self.vouches_until = None
        self._read, self.is_connected = len(self.exchange.frames), True
        if self.exchange.name == "binance":
            return told
        return told + self.sync.update(self._update(self.exchange.snapshot()))

    def disconnect(self) -> list[BookEvent]:
        self.is_connected = False
        return self.sync.restart("disconnected", 0)

    def read(self) -> list[BookEvent]:
        """One frame, if there is one."""
        if not self.is_connected or not self.is_behind or self.vouches_until is not None:
            return []
        self._read += 1
        told = self.sync.update(self._update(self.exchange.frames[self._read - 1]))
        if self.sync.needs_snapshot:
            told = told + self.sync.snapshot(self._update(self.exchange.snapshot()))
        return told

    def freeze(self, now: int) -> None:
        """Its socket says nothing from `now` on, and it has not noticed."""
        if self.vouches_until is None:
            self.vouches_until = now + HEARD_NS

    def copy(self, now: int) -> list[BookEvent]:
        if self.vouches_until is not None and now > self.vouches_until:
            return []
        copy = self.sync.copy(0)
        return [copy] if copy is not None else []


class Reader:
    """Follows the topic; after each record its book is what that record's stream had told by then, or what it was. What
    no number shows is so again with the next copy of the stream."""

    def __init__(self, exchange: Exchange):
        self._exchange = exchange
        self._told: dict[str, OrderBook] = {}
        self.followed = FollowedBook(exchange.name)
        self.now = 0
        self._misled: set[str] = set()

    def take(self, *events: BookEvent, is_lost: bool = False) -> None:
        for event in events:
            self._tell(event)
            if is_lost:
                self._is_misled_about(event)
            else:
                self._follow(event, [state_of(self._told[event.stream])])

    def swap(self, events: list[BookEvent]) -> None:
        """What was told last comes first."""
        for event in events:
            self._tell(event)
        for event in reversed(events):
            self._is_misled_about(event)
            self._follow(event, self._exchange.states)
            self._is_misled_about(event)

    def _is_misled_about(self, event: BookEvent) -> None:
        if self._exchange.name == "coinbasepro":
            self._misled.add(event.stream)

    def _tell(self, event: BookEvent) -> None:
        book = self._told.setdefault(event.stream, OrderBook())
        if isinstance(event, BookUpdate):
            book.apply(event)
            assert state_of(book) in self._exchange.states

    def _follow(self, event: BookEvent, states: list[State]) -> None:
        """Whatever the event changes leads to one of `states`, and a copy of what is followed to it in any case."""
        is_copy = isinstance(event, BookUpdate) and event.is_copy
        if is_copy:
            self._misled.discard(event.stream)
        before = (state_of(self.followed.book), self.followed.broken)
        is_changed = self.followed.apply(event, self.now)
        after = (state_of(self.followed.book), self.followed.broken)
        assert is_changed or after == before
        if self.followed.broken is not None:
            assert not is_changed or isinstance(event, BookStale) or before[1] is None
        elif is_changed or (is_copy and event.stream == self.followed.stream):
            assert event.stream in self._misled or after[0] in states


STEPS = st.one_of(
    st.tuples(st.just("change"), st.sampled_from("123"), st.sampled_from("89"), st.booleans()),
    st.tuples(
        st.sampled_from(["read", "read", "lose", "swap", "repeat", "copy", "connect", "disconnect", "die", "freeze"]),
        st.booleans(),
    ),
    st.tuples(st.sampled_from(["restart", "wait"])),
)


@pytest.mark.parametrize("name", EXCHANGES)
@given(steps=st.lists(STEPS, max_size=60))
def test_a_reader_of_two_ingestors_has_the_book_of_one_of_them_or_none(name: str, steps: list[Any]) -> None:
    exchange = Exchange(name)
    ingestors = {False: Ingestor(exchange), True: Ingestor(exchange)}
    reader = Reader(exchange)
    for one in ingestors.values():
        reader.take(*one.connect())
    for action, *rest in steps:
        reader.now += SILENT_NS // 16
        if action == "change":
            exchange.change(rest[0], rest[1], is_there=rest[2])
            continue
        if action == "restart":
            exchange.restart()
            continue
        if action == "wait":
            reader.now += SILENT_NS
            continue
        one = ingestors[rest[0]]
        if action == "die":
            ingestors[rest[0]] = Ingestor(exchange)
        elif action == "freeze":
            one.freeze(reader.now)
        elif action == "copy":
            reader.take(*one.copy(reader.now))
        elif action == "lose":
            reader.take(*one.read(), is_lost=True)
        elif action == "swap":
            reader.swap([*one.read(), *one.read()])
        elif action == "repeat":
            for event in one.read():
                reader.take(event, event)
        else:
            reader.take(*getattr(one, action)())
    is_right_again(exchange, ingestors[False], ingestors[True], reader)


def is_right_again(exchange: Exchange, stuck: Ingestor, one: Ingestor, reader: Reader) -> None:
    """Whatever came before: 25 s after the socket of one has got stuck, the book is that of one that is connected."""
    stuck.freeze(reader.now)
    if not one.is_connected or one.vouches_until is not None:
        reader.take(*one.connect())
    for _ in range(5):
        reader.now += 5 * NANOSECONDS
        exchange.change("1", "9", is_there=True)
        reader.take(*stuck.copy(reader.now))
        while one.is_behind:
            reader.take(*one.read())
        reader.take(*one.copy(reader.now))
    assert (state_of(reader.followed.book), reader.followed.broken) == (exchange.states[-1], None)
