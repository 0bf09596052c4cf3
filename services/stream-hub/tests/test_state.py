"""What the hub keeps: ids, rings, sums, books, merged tapes. Every docstring's promise as a property."""

from __future__ import annotations

import gzip
import random
import zlib
from decimal import Decimal
from itertools import chain
from pathlib import Path
from unittest import mock

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.bar import NANOSECONDS, BarStatus, Interval, fold_bars
from crosstape.common.market.book import BookStale, BookUpdate, OrderBook
from crosstape.common.market.instrument import Instrument
from crosstape.common.testing.builders import make_trade
from crosstape.common.testing.strategies import START, decimal_texts, tapes
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.dialect import Channel
from crosstape.stream_hub.anchors import Anchor, anchored
from crosstape.stream_hub.book_view import MalformedBook, Sides, consolidate, view
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.flow import AnchoredSum, Flow
from crosstape.stream_hub.hub import PRUNE_PARTS, Hub
from crosstape.stream_hub.live_book import LiveBook
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.merge import TimeMerge
from crosstape.stream_hub.numbers import canonical, seconds_text
from crosstape.stream_hub.ring import Ring
from crosstape.stream_hub.rollup import roll_up
from crosstape.stream_hub.seen import SeenIds
from crosstape.stream_hub.told import Told

RECORDINGS = Path(__file__).resolve().parents[4] / "shared" / "recordings"


@given(st.lists(st.one_of(st.integers(0, 40), st.text("ab", min_size=1, max_size=2))))
def test_an_id_is_new_exactly_once(ids):
    seen, known = SeenIds(), set()
    for one in ids:
        assert seen.add(one) == (one not in known)
        known.add(one)


def test_consecutive_ids_in_any_order_are_remembered_as_one_range():
    seen, ids = SeenIds(), list(range(1_000))
    random.Random(1).shuffle(ids)
    assert all(seen.add(one) for one in ids)
    assert (seen._starts, seen._ends) == ([0], [999])


STEPS = st.lists(st.tuples(st.integers(1, 5), st.integers(0, 3)), max_size=60)
SIZES, BLOCKS = st.integers(1, 8), st.integers(1, 5)


class Message(msgspec.Struct, array_like=True):
    text: str


def filled(steps: list[tuple[int, int]], size: int, block: int) -> tuple[Ring[Message], list[tuple[int, int, str]]]:
    """A ring in which something was put with each step (how far on, how many ms later), and all that was put in."""
    ring: Ring[Message] = Ring(Message, size, 0.01, 0)
    everything: list[tuple[int, int, str]] = []
    place, time_ms = 0, 0
    with mock.patch("crosstape.stream_hub.ring.BLOCK", block):
        for gap, pause in steps:
            place, time_ms = place + gap, time_ms + pause
            ring.append(place, time_ms, Message(f"m{place}"))
            everything.append((place, time_ms, f"m{place}"))
    return ring, everything


def texts(entries):
    return [(place, entry.text) for place, entry in entries]


@given(st.lists(st.tuples(st.integers(0, 60), st.integers(0, 3)), max_size=40))
def test_what_was_told_of_the_latest_bars_is_known_and_older_bars_are_forgotten(steps):
    told, model, newest = Told(60, 600), {}, 0
    for minute, revision in steps:
        newest = max(newest, minute)
        told.tell(minute * 60, revision)
        model[minute] = revision
        for one in range(newest - 9, newest + 1):
            assert one < 0 or told.revision(one * 60) == model.get(one)
    assert all(told.revision(one * 60) in (None, model.get(one)) for one in range(61))


@given(STEPS, SIZES, BLOCKS)
def test_ring_has_the_newest_that_are_neither_too_many_nor_too_old(steps, size, block):
    ring, everything = filled(steps, size, block)
    newest_ms = everything[-1][1] if everything else 0
    kept = [(place, text) for place, time_ms, text in everything[-size:] if time_ms >= newest_ms - 10]
    assert texts(ring) == kept
    assert ring.newest == (kept[-1][0] if kept else 0)
    assert (ring.last.text if ring.last else None) == (kept[-1][1] if kept else None)
    assert ring.floor == max((place for place, _, text in everything if (place, text) not in kept), default=0)


@given(STEPS, st.integers(-1, 300), st.none() | st.integers(1, 9), SIZES, BLOCKS)
def test_ring_gives_exactly_what_follows_or_says_that_it_cannot(steps, since, most, size, block):
    ring, everything = filled(steps, size, block)
    expected = [(place, text) for place, _, text in everything if place > since]
    missed = ring.after(since, most)
    assert ring.reaches(since) == (missed is not None)
    if missed is None:
        assert since < 0 or not set(expected) <= set(texts(ring))
    else:
        assert texts(missed) == expected[:most]


@given(STEPS, st.integers(0, 200), SIZES, BLOCKS)
def test_ring_tells_what_came_since_a_time(steps, since_ms, size, block):
    ring, everything = filled(steps, size, block)
    kept = [(time_ms, text) for place, time_ms, text in everything if place > ring.floor]
    assert [entry.text for entry in ring.since(since_ms)] == [text for time_ms, text in kept if time_ms >= since_ms]
    assert ring.oldest_ms == (kept[0][0] if kept else None)


@given(STEPS, SIZES, BLOCKS)
def test_what_is_rewritten_in_a_ring_stays(steps, size, block):
    ring, _ = filled(steps, size, block)
    expected = [(place, text + "!") for place, text in texts(ring)]

    def shout(messages):
        for message in messages:
            message.text += "!"

    ring.rewrite(shout)
    assert texts(ring) == expected


@given(decimal_texts(places=18))
def test_canonical_text_has_the_same_value_and_is_json(text):
    shown = canonical(text)
    assert Decimal(shown) == Decimal(text)
    assert msgspec.json.decode(shown, type=Decimal) == Decimal(text)
    assert canonical(format(Decimal(text).normalize(), "f")) == shown


@pytest.mark.parametrize(
    ("text", "shown"), [("007.50", "7.5"), ("0", "0"), ("0.0", "0"), ("00", "0"), ("100", "100"), ("00.10", "0.1")]
)
def test_canonical_text_of_odd_spellings(text, shown):
    assert canonical(text) == shown


def test_time_of_a_trade_is_shown_as_rest_shows_it():
    assert seconds_text(1_672_531_200_123_456_789) == "1672531200.123456"
    assert seconds_text(1_672_531_200_500_000_000) == "1672531200.5"
    assert seconds_text(1_672_531_200_000_000_000) == "1672531200"


@given(tapes(), st.data())
def test_flow_is_the_sum_of_the_tape_whoever_tells_of_it(tape, data):
    """Own trades in any order, and history's bars of any state of its tape in between, come to the tape's own sum."""
    flow, since = Flow(), AnchoredSum(0, Decimal())
    flow.found([], START // NANOSECONDS // 86_400 * 86_400)
    flow.sums[since] = None
    order = data.draw(st.permutations(tape))
    stored = []
    for trade in order:
        flow.add(trade)
        stored.append(trade)
        if data.draw(st.booleans()):
            known = data.draw(st.lists(st.sampled_from(stored), unique_by=lambda one: one.trade_id))
            for bar in fold_bars(known, Interval.M1):
                flow.tell(bar)
    bars = fold_bars(tape, Interval.M1)
    expected = sum((Decimal(bar.volume_delta) for bar in bars), Decimal())
    for number, bar in enumerate(bars):
        flow.tell(_revised(bar, number))
    assert flow.cvd(START // NANOSECONDS) == since.value == expected
    bar = flow.bar(Interval.H1, START // NANOSECONDS, START // NANOSECONDS + 3_600)
    (whole,) = fold_bars(tape, Interval.H1) or (None,)
    assert (bar is None) == (whole is None)
    if bar is not None:
        for name in ("open", "high", "low", "close", "volume", "volume_delta", "volume_unknown", "trades"):
            assert getattr(bar, name) == getattr(whole, name), name


def _revised(bar, revision):
    fields = {name: getattr(bar, name) for name in bar.__struct_fields__}
    return bar.__class__(**fields | {"revision": revision})


MIDNIGHT = 1_751_328_000


def test_sum_since_an_anchor_leaves_out_what_is_told_late_of_the_time_before():
    flow = Flow()
    flow.found([], MIDNIGHT)
    since = AnchoredSum((MIDNIGHT + 90) * NANOSECONDS, Decimal())
    flow.sums[since] = None
    flow.add(make_trade(1, time=(MIDNIGHT + 80) * NANOSECONDS, quantity="5"))
    flow.add(make_trade(2, time=(MIDNIGHT + 90) * NANOSECONDS, quantity="2"))
    (revised,) = fold_bars([make_trade(3, time=(MIDNIGHT + 10) * NANOSECONDS, quantity="7")], Interval.M1)
    flow.tell(revised)
    assert since.value == 2
    assert flow.cvd(MIDNIGHT) == 14


def test_revision_of_a_minute_that_was_let_go_does_not_count_that_minute_again():
    flow, since = Flow(), AnchoredSum(0, Decimal())
    flow.found([], MIDNIGHT)
    flow.sums[since] = None
    first, late = (make_trade(one, time=(MIDNIGHT + 5) * NANOSECONDS, quantity="1") for one in (1, 2))
    flow.add(first)
    flow.prune(MIDNIGHT + 86_400 + 7_300)
    flow.add(late)
    flow.tell(_revised(fold_bars([first, late], Interval.M1)[0], 1))
    assert since.value == 2


async def test_sum_since_an_anchor_holds_when_a_day_is_let_go_while_history_is_asked():
    moments = {MIDNIGHT - 1_800: "4", MIDNIGHT + 100: "1", MIDNIGHT + 86_410: "2"}
    tape = [make_trade(one, time=one * NANOSECONDS, quantity=quantity) for one, quantity in moments.items()]
    market = MarketState("binance", "BTC-USDT", Outbox(), RingSize(10, 300.0), 0.0)
    market.found(fold_bars(tape[1:], Interval.M1), [], MIDNIGHT)

    class History:
        async def bars(self, exchange, symbol, interval, start, end):
            market.prune(MIDNIGHT + 86_400 + 7_300)
            return [bar for bar in fold_bars(tape, interval) if start <= bar.open_time < end]

    _, since = await anchored(market, Anchor("a time", (MIDNIGHT - 3_600) * NANOSECONDS), History())
    assert since.value == 7


@pytest.mark.parametrize("start", [MIDNIGHT - 31 * 86_400 + 2_580, MIDNIGHT - 3_600, MIDNIGHT - 1_200])
async def test_sum_since_a_month_ago_asks_for_hours_and_is_that_of_the_minutes(start):
    moments = range(MIDNIGHT - 31 * 86_400, MIDNIGHT, 1_140)
    tape = [make_trade(one, time=one * NANOSECONDS, quantity=f"0.{one}") for one in moments]
    market = MarketState("binance", "BTC-USDT", Outbox(), RingSize(10, 300.0), 0.0)
    market.found([], [], MIDNIGHT)
    asked = []

    class History:
        async def bars(self, exchange, symbol, interval, start, end):
            asked.append((end - start) // interval.seconds)
            return [bar for bar in fold_bars(tape, interval) if start <= bar.open_time < end]

    _, since = await anchored(market, Anchor("a time", start * NANOSECONDS), History())
    minutes = [bar for bar in fold_bars(tape, Interval.M1) if bar.open_time >= start]
    assert since.value == sum((Decimal(bar.volume_delta) for bar in minutes), Decimal())
    assert sum(asked) < 1_000


@pytest.mark.parametrize("pace", [1.0, 1.25, 0.0])
def test_all_markets_are_tidied_up_in_turn_and_few_at_once_whatever_the_clock_says(pace):
    hub = Hub(Outbox(), RingSize(10, 300.0))
    tidied = []
    for number in range(150):
        hub.market("binance", f"X{number}-USDT").prune = lambda now, number=number: tidied[-1].append(number)
    for turn in range(PRUNE_PARTS):
        tidied.append([])
        hub.prune(MIDNIGHT + pace * turn)
    assert max(map(len, tidied)) == 3
    assert sorted(chain.from_iterable(tidied)) == list(range(150))


@given(tapes())
def test_rolled_up_minutes_are_the_fold_of_their_trades(tape):
    hours = fold_bars(tape, Interval.H1)
    minutes = fold_bars(tape, Interval.M1)
    if minutes:
        rolled = roll_up(minutes, Interval.H1)
        assert rolled == _provisional(hours[0])


def _provisional(bar):
    fields = {name: getattr(bar, name) for name in bar.__struct_fields__}
    return bar.__class__(**fields | {"status": BarStatus.PROVISIONAL})


def test_flow_of_yesterday_stays_known_for_two_hours_and_sums_stay_exact():
    flow = Flow()
    flow.found([], MIDNIGHT - 86_400)
    flow.add(make_trade(1, time=(MIDNIGHT - 10) * NANOSECONDS, quantity="0.1"))
    flow.add(make_trade(2, time=(MIDNIGHT + 10) * NANOSECONDS, quantity="0.2"))
    flow.prune(MIDNIGHT + 60)
    assert (flow.cvd(MIDNIGHT - 10), flow.cvd(MIDNIGHT)) == (Decimal("0.1"), Decimal("0.2"))
    flow.prune(MIDNIGHT + 7_300)
    assert (flow.cvd(MIDNIGHT - 10), flow.cvd(MIDNIGHT)) == (None, Decimal("0.2"))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9), st.integers(0, 3)), max_size=40), st.integers(0, 20)
)
def test_merge_keeps_every_feeds_order_and_says_what_is_late(offers, hold):
    merge, now, released = TimeMerge("abc", hold), 0.0, []
    for number, (source, time, pause) in enumerate(offers):
        now += pause
        merge.offer(source, time, (source, number, time), now)
        released += merge.take(now)
        wait = merge.wait(now)
        assert wait is None or wait <= hold
    released += merge.drain()
    for name in "abc":
        own = [item[1] for item, _ in released if item[0] == name]
        assert own == sorted(own)
    assert sorted(item[1] for item, _ in released) == list(range(len(offers)))
    newest = 0
    for (_, _, time), is_late in released:
        assert is_late == (time < newest)
        newest = max(newest, time)


def test_merge_waits_for_the_others_only_so_long():
    merge = TimeMerge("ab", 0.1)
    merge.offer("a", 5, "late one", 0.0)
    assert (merge.take(0.05), merge.wait(0.05)) == ([], 0.05)
    merge.offer("b", 3, "early one", 0.06)
    assert [item for item, _ in merge.take(0.06)] == ["early one"]
    assert [item for item, _ in merge.take(0.1)] == ["late one"]


LONG_AFTER = 1 << 62
"""As if every record had been written at once."""


def book_update(bids, asks, first_id, last_id, **fields):
    values = {"is_snapshot": False, "time": 1, "time_received": LONG_AFTER} | fields
    return BookUpdate("binance", "BTC-USDT", bids=bids, asks=asks, first_id=first_id, last_id=last_id, **values)


CHANGES = [("bid", price, quantity) for price in "12345" for quantity in "0123"]
CHANGES += [("ask", price, quantity) for price in "6789" for quantity in "0123"]
"""Of a level: its side, its price, and its quantity from now on."""
TOLD = st.sampled_from([0, 1, 1, 1, 2])
"""How often the bus brings a record."""


@given(st.lists(st.tuples(st.lists(st.sampled_from(CHANGES), max_size=4), TOLD), min_size=24, max_size=24))
def test_book_shown_is_always_one_the_exchange_had(steps):
    """Lose, repeat and interleave the bus's records at will: what is not stale equals the exchange's own book."""
    truth, book, states = OrderBook(), LiveBook("binance", "BTC-USDT"), {}
    for number, (changes, repeats) in enumerate(steps, 1):
        bids, asks = ({price: to for side, price, to in changes if side == one} for one in ("bid", "ask"))
        update = book_update(list(bids.items()), list(asks.items()), number, number)
        truth.apply(update)
        states[number] = (dict(truth.bids), dict(truth.asks))
        if number == 1 or number % 8 == 0:
            update = book_update(*truth.top(1_000), None, number, is_snapshot=True)
        for _ in range(repeats):
            book.apply(update, update.last_id, 0)
            if book.broken is None:
                assert (book.book.bids, book.book.asks) == states[book.offset]


def test_book_is_shown_without_its_ingestor_only_until_the_other_ones_next_copy():
    book = LiveBook("binance", "BTC-USDT")
    book.apply(book_update([("1", "1")], [], None, 10, is_snapshot=True, stream="dead"), 1, 100_000)
    for seconds in (109, 119):  # the other one's copies
        assert book.reason(seconds) is None
        copy = book_update([("1", str(seconds))], [], None, seconds, is_snapshot=True, is_copy=True, stream="alive")
        book.apply(copy, 2, seconds * 1_000)
    assert (book.book.bids, book.age(119.0), book.reason(144.0)) == ({"1": "119"}, 0.0, None)
    assert book.apply(book_update([("1", "3")], [], 120, 120, stream="dead"), 3, 125_000) is False, "nobody is told"
    assert book.reason(145.0) == "silent", "only the ingestor that is followed keeps it alive"


def test_book_that_waited_for_the_broker_is_as_old_as_what_was_received():
    book = LiveBook("binance", "BTC-USDT")
    received = 100_000_000_000
    book.apply(book_update([("1", "1")], [], None, 10, is_snapshot=True, time_received=received), 1, 160_000)
    assert (book.age(160.0), book.reason(160.0)) == (60.0, "silent")


def test_book_whose_best_levels_are_not_known_is_not_shown_with_an_empty_side():
    book = LiveBook("binance", "BTC-USDT")
    asks = [("100", "1"), ("101", "1")]
    book.apply(book_update([("99", "1")], asks, None, 10, is_snapshot=True, ask_horizon="101"), 1, 100_000)
    assert book.reason(100.0) is None
    book.apply(book_update([], [("100", "0"), ("101", "0"), ("104", "1")], 11, 11), 2, 100_000)
    assert book.reason(100.0) == "short"
    book.apply(book_update([("99", "1")], [("104", "1")], None, 11, is_snapshot=True, is_copy=True), 3, 100_000)
    assert book.reason(100.0) is None


def test_stale_book_needs_a_snapshot():
    book = LiveBook("binance", "BTC-USDT")
    book.apply(book_update([("1", "1")], [], None, 10, is_snapshot=True), 1, 100_000)
    assert book.reason(100.0) is None
    book.apply(BookStale("binance", "BTC-USDT", "disconnected", LONG_AFTER), 2, 100_000)
    book.apply(book_update([("1", "2")], [], 11, 11), 3, 100_000)
    assert book.reason(100.0) == "disconnected"


def test_book_with_a_price_that_is_no_number_is_refused_until_the_next_snapshot():
    book = LiveBook("binance", "BTC-USDT")
    book.apply(book_update([("1", "1")], [], None, 10, is_snapshot=True), 1, 100_000)
    book.apply(book_update([("abc", "1")], [], 11, 11), 2, 100_000)
    assert book.reason(100.0) == "malformed"
    book.apply(book_update([("1", "1")], [], None, 12, is_snapshot=True), 3, 100_000)
    assert book.reason(100.0) is None


def test_numbers_that_are_none_never_leave_the_hub():
    book = OrderBook()
    book.apply(book_update([("nan", "1")], [], None, 1, is_snapshot=True))
    with pytest.raises(MalformedBook):
        view(book, 5)


@given(
    st.lists(
        st.lists(st.tuples(st.integers(1, 50).map(str), st.integers(1, 9).map(str)), unique_by=lambda level: level[0]),
        min_size=1,
        max_size=4,
    ),
    st.integers(1, 20),
)
def test_consolidated_book_holds_the_best_levels_of_all(books, depth):
    parts = [
        (
            f"x{number}",
            Sides(
                sorted(levels, key=lambda level: -int(level[0])),
                sorted(levels, key=lambda level: int(level[0])),
            ),
        )
        for number, levels in enumerate(books)
    ]
    sides = consolidate(parts, depth)
    every = [(*level, name) for name, part in parts for level in part.bids]
    assert [int(level[0]) for level in sides.bids] == sorted((int(one[0]) for one in every), reverse=True)[:depth]
    assert [int(level[0]) for level in sides.asks] == sorted(int(one[0]) for one in every)[:depth]
    assert set(sides.bids) | set(sides.asks) <= set(every)


def test_consolidated_book_ends_where_one_exchange_is_known_no_further():
    def venue(count, **horizons):
        book = OrderBook()
        bids = [(str(100 - n), "1") for n in range(count)]
        asks = [(str(101 + n), "1") for n in range(count)]
        book.apply(book_update(bids, asks, None, 1, is_snapshot=True, **horizons))
        return view(book, 9)

    few, many = venue(2, ask_horizon="102", bid_horizon="99"), venue(12)
    sides = consolidate([("few", few), ("many", many)], 9)
    assert [(price, name) for price, _, name in sides.asks] == [
        ("101", "few"), ("101", "many"), ("102", "few"), ("102", "many"),
    ]  # fmt: skip
    assert [price for price, _, _ in sides.bids] == ["100", "100", "99", "99"]
    assert len(consolidate([("all", venue(2)), ("many", many)], 9).asks) == 9


def test_checksum_is_over_the_ten_best_levels_and_names_exchanges():
    bids = [(str(100 - n), "1") for n in range(12)]
    asks = [("101", "2", "okx")]
    expected = ":".join([f"{bids[0][0]}:1", "101:2:okx", *(f"{price}:1" for price, _ in bids[1:10])])
    assert Sides(bids, asks).checksum == zlib.crc32(expected.encode())


class Line(msgspec.Struct):
    t: int | None
    frame: str = ""


def test_recorded_day_of_binance_ends_in_exactly_the_book_of_the_truth():
    """Through the hub's own book: snapshot and diffs as Binance sent them, 2024-08-08."""
    path = RECORDINGS / "binance" / "spot-btcusdt-20240808.jsonl.gz"
    truth = RECORDINGS / "truth" / "binance-spot-btcusdt-20240808-book.csv"
    if not path.exists() or not truth.exists():
        pytest.skip("../shared/recordings is absent")
    dialect, spot = Binance(), Instrument("binance", "BTCUSDT", "BTC", "USDT")
    (subscription,) = dialect.subscriptions([spot], frozenset(Channel))
    book, early = LiveBook("binance", "BTC-USDT"), []
    with gzip.open(path) as file:
        for line in map(msgspec.json.Decoder(Line).decode, file):
            if line.frame.startswith('{"lastUpdateId"'):
                book.apply(dialect.decode_book_snapshot(spot, line.frame.encode(), line.t), 0, 0)
                for update in early:
                    book.apply(update, 0, 0)
            elif "@depth" in line.frame[:60]:
                for update in subscription.decode(line.frame.encode(), line.t):
                    (book.apply(update, 0, 0) if book.broken is None else early.append(update))
                    assert book.broken in (None, "no snapshot yet")
                    assert not (book.broken is None and book.book.is_crossed())
    sides = view(book.book, 50)
    header, *rows = (row.split(",") for row in truth.read_text().splitlines())
    wanted = [dict(zip(header, row, strict=True)) for row in rows]
    for side, levels in (("bid", sides.bids), ("ask", sides.asks)):
        assert [(Decimal(price), Decimal(quantity)) for price, quantity in levels] == [
            (Decimal(row["price"]), Decimal(row["quantity"])) for row in wanted if row["side"] == side
        ]
