"""The wire codec: what was written is read, by this version and the next; what is not a record is refused."""

from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct, structs

from crosstape.common.bus.codec import Codec, UndecodableRecord, UnknownVersion
from crosstape.common.bus.topics import ALL_TOPICS, BARS, BOOKS, DEAD_LETTERS, LEDGER, TRADES, DeadLetter, Topic
from crosstape.common.market.bar import Bar, BarStatus, Interval
from crosstape.common.market.book import BookEvent, BookStale, BookUpdate
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source, TakerSide, Trade, TradeColumns, batch_columns, batch_trades, trade_id
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import decimal_texts, tapes

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
nanoseconds = st.integers(0, 2**63 - 1)
trade_ids = st.integers(0, 2**63 - 1) | texts.map(trade_id)
levels = st.lists(st.tuples(decimal_texts(), decimal_texts()), max_size=5)
optional_ids = st.none() | st.integers(-1, 2**63 - 1)

trade_batches = st.lists(
    st.tuples(trade_ids, nanoseconds, decimal_texts(), decimal_texts(), st.sampled_from(TakerSide), nanoseconds),
    min_size=1,
    max_size=20,
).map(lambda rows: batch_trades([Trade("okx", "BTC-USDT", *row) for row in rows], Source.STREAM))
book_events = st.builds(
    BookUpdate,
    *[texts, texts, st.booleans(), levels, levels, nanoseconds, nanoseconds],
    *[optional_ids, optional_ids, optional_ids, st.none() | st.integers(-(2**31), 2**32)],
    *[texts, st.booleans(), st.none() | decimal_texts(), st.none() | decimal_texts()],
) | st.builds(BookStale, texts, texts, texts, nanoseconds, texts)
bar_lists = st.lists(
    st.builds(
        Bar,
        *[texts, texts, st.sampled_from(Interval).map(str), st.integers(0, 2**33)],
        *[decimal_texts() for _ in range(7)],
        *[st.integers(1, 10**6), trade_ids, trade_ids, st.sampled_from(BarStatus), st.integers(0, 100)],
    ),
    max_size=4,
)
ledger_events = st.builds(
    Gap,
    *[texts, texts, optional_ids, optional_ids, nanoseconds, nanoseconds, texts],
    *[st.sampled_from(GapState), st.integers(0, 10**6), nanoseconds],
) | st.builds(Coverage, texts, texts, nanoseconds, nanoseconds)
dead_letters = st.builds(DeadLetter, texts, st.integers(0, 99), nanoseconds, texts, texts, st.binary(max_size=100))

records = st.one_of(
    trade_batches.map(lambda record: (TRADES, record)),
    book_events.map(lambda record: (BOOKS, record)),
    bar_lists.map(lambda record: (BARS, record)),
    ledger_events.map(lambda record: (LEDGER, record)),
    dead_letters.map(lambda record: (DEAD_LETTERS, record)),
)


@given(records)
def test_what_was_encoded_decodes_to_the_same_record(topic_and_record: tuple[Topic[Any], Any]) -> None:
    topic, record = topic_and_record
    assert topic.codec.decode(topic.codec.encode(record)) == record


@given(tapes(), st.sampled_from(Source))
def test_a_batch_gives_back_the_trades_it_was_made_of(trades: list[Trade], source: Source) -> None:
    if trades:
        batch = batch_trades(trades, source)
        assert (batch.trades(), len(batch)) == (trades, len(trades))


class Ticker(Struct, frozen=True, array_like=True):
    symbol: str
    price: str


class TickerWithVolume(Struct, frozen=True, array_like=True):
    symbol: str
    price: str
    volume: str = "0"


def test_a_reader_of_the_next_version_reads_this_one() -> None:
    old, new = Codec[Ticker](Ticker, version=1), Codec[TickerWithVolume](TickerWithVolume, version=2)
    assert new.decode(old.encode(Ticker("BTC-USDT", "60000"))) == TickerWithVolume("BTC-USDT", "60000", "0")


def test_a_reader_refuses_what_a_newer_version_wrote_rather_than_guess() -> None:
    old, new = Codec[Ticker](Ticker, version=1), Codec[TickerWithVolume](TickerWithVolume, version=2)
    with pytest.raises(UnknownVersion, match="record version 2, this reader knows 1 to 1"):
        old.decode(new.encode(TickerWithVolume("BTC-USDT", "60000", "5")))


class OldBookUpdate(Struct, frozen=True, array_like=True, tag="update"):
    """As before its streams had names."""

    exchange: str
    symbol: str
    is_snapshot: bool
    bids: list[tuple[str, str]]
    asks: list[tuple[str, str]]
    time: int
    time_received: int
    first_id: int | None = None
    last_id: int | None = None
    previous_id: int | None = None
    checksum: int | None = None


class OldBookStale(Struct, frozen=True, array_like=True, tag="stale"):
    exchange: str
    symbol: str
    reason: str
    time: int


@given(book_events)
def test_a_field_that_readers_can_do_without_is_skipped_by_those_who_do_not_know_it(event: BookEvent) -> None:
    """Both ways, as while an update is under way: the older service reads the newer one's records and vice versa."""
    older = Codec[OldBookUpdate | OldBookStale](OldBookUpdate | OldBookStale)
    read = older.decode(BOOKS.codec.encode(event))
    known = {name: getattr(event, name) for name in read.__struct_fields__}
    assert structs.asdict(read) == known
    assert BOOKS.codec.decode(older.encode(read)) == type(event)(**known)


@given(st.sampled_from(ALL_TOPICS), st.binary() | st.binary().map(lambda data: b"\x01" + data))
def test_arbitrary_bytes_raise_nothing_but_undecodable_record(topic: Topic[Any], data: bytes) -> None:
    with suppress(UndecodableRecord):
        topic.codec.decode(data)


@given(records, st.data())
def test_damaged_bytes_raise_nothing_but_undecodable_record(
    topic_and_record: tuple[Topic[Any], Any], data: st.DataObject
) -> None:
    topic, record = topic_and_record
    encoded = bytearray(topic.codec.encode(record))
    encoded[data.draw(st.integers(0, len(encoded) - 1))] = data.draw(st.integers(0, 255))
    with suppress(UndecodableRecord):
        topic.codec.decode(bytes(encoded))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"\x00", id="version 0"),
        pytest.param(b"\x01", id="only a version"),
        pytest.param(b"\x01" + b"\x91" * 100_000, id="100,000 nested arrays"),
        pytest.param(b"\x01\xdd\xff\xff\xff\xff", id="an array of four billion, announced"),
        pytest.param(b"\x01\x99\xdb\xff\xff\xff\xff", id="a text of four billion, announced"),
        pytest.param(b"\x01\x99\xa1\xff", id="invalid UTF-8"),
        pytest.param(
            TRADES.codec.encode(batch_trades([make_trade()], Source.STREAM)) + b"\x00", id="one byte too many"
        ),
    ],
)
@pytest.mark.parametrize("topic", ALL_TOPICS, ids=lambda topic: topic.name)
def test_a_hostile_record_is_undecodable(topic: Topic[Any], data: bytes) -> None:
    with pytest.raises(UndecodableRecord):
        topic.codec.decode(data)


def test_a_tombstone_is_undecodable() -> None:
    with pytest.raises(UndecodableRecord):
        TRADES.codec.decode(None)  # type: ignore[arg-type]  # what aiokafka gives for a record without a value


def test_a_batch_whose_columns_differ_in_length_is_undecodable() -> None:
    good = TRADES.codec.encode(batch_trades([make_trade()], Source.STREAM))
    with pytest.raises(UndecodableRecord, match="unequal"):
        TRADES.codec.decode(good[:-10] + b"\xc4\x00")
    columns = batch_trades([make_trade()], Source.STREAM).columns()
    for name in columns._fields:
        longer = columns._replace(**{name: getattr(columns, name) * 2})
        with pytest.raises(ValueError, match="unequal"):
            batch_columns("binance", "BTC-USDT", Source.STREAM, longer)


def test_a_number_with_a_line_break_cannot_shift_its_column() -> None:
    with pytest.raises(ValueError, match="unequal"):
        batch_trades([make_trade(price="1\n2")], Source.STREAM)


def test_a_batch_of_nothing_is_no_batch() -> None:
    empty = TradeColumns([], [], [], [], [], [])
    with pytest.raises(ValueError, match="unequal"):
        batch_columns("binance", "BTC-USDT", Source.STREAM, empty)
