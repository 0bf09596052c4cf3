"""A five-minute order on what Binance really sent on 2024-08-08: its fills, found again in the raw frames by hand."""

from __future__ import annotations

import gzip
import json
from decimal import ROUND_CEILING, ROUND_DOWN, ROUND_HALF_UP, Decimal
from pathlib import Path

import msgspec
import pytest
from twap_world import USER, Ledger, Replica, TestClock, make_order

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.trade import Source, Trade, batch_trades
from crosstape.exchanges.binance import Binance
from crosstape.exchanges.dialect import Channel
from crosstape.ingestor.book_sync import BookSync
from crosstape.twap_engine import analytics
from crosstape.twap_engine.order import Market
from crosstape.twap_engine.store.read import Reader, read_order

RECORDING = Path(__file__).resolve().parents[4] / "shared/recordings/binance/spot-btcusdt-20240808.jsonl.gz"
DURATION, INTERVAL = 300, 10
QUANTITY, LIMIT, LOT = Decimal(150), Decimal(61_830), Decimal("0.00001")


class Line(msgspec.Struct):
    t: int
    frame: str = ""


class RecordedClock(TestClock):
    def set(self, time: int) -> None:
        self._utc = self._steady = time


@pytest.fixture(scope="module")
def lines() -> list[Line]:
    if not RECORDING.exists():
        pytest.skip("no recording beside the repository: ../shared/recordings is absent")
    with gzip.open(RECORDING) as file:
        return [line for line in map(msgspec.json.Decoder(Line).decode, file) if line.frame]


def wanted(left: Decimal, slices: int, slices_left: int) -> Decimal:
    """The next slice: its part of the even schedule, and a part of whatever that has not got so far."""
    if slices_left == 1:
        return left
    planned, after = (
        ((QUANTITY * n / slices) / LOT).to_integral_value(ROUND_HALF_UP) for n in (slices_left, slices_left - 1)
    )
    behind = max(Decimal(), (left / LOT).to_integral_value(ROUND_DOWN) - planned)
    return (planned - after + (behind / slices_left).to_integral_value(ROUND_CEILING)) * LOT


def by_hand(lines: list[Line], start: int) -> list[tuple[int, str, Decimal]]:
    """(slice, price, quantity) of every fill: the rules of the order, applied to the frames by nothing but dicts."""
    asks: dict[str, Decimal] = {}
    taken: dict[str, Decimal] = {}
    newest, early, fills, left = None, [], [], QUANTITY
    slices = DURATION // INTERVAL + 1
    number = 0
    for line in lines:
        while number < slices and start + number * INTERVAL * NANOSECONDS < line.t:
            want = wanted(left, slices, slices - number)
            for price in sorted(asks, key=Decimal):
                got = min(want, asks[price] - taken.get(price, 0))
                if Decimal(price) > LIMIT or not want:
                    break
                if got > 0:
                    fills.append((number, price, got))
                    taken[price] = taken.get(price, 0) + got
                    want, left = want - got, left - got
            number += 1
        frame = json.loads(line.frame)
        if "lastUpdateId" in frame:
            newest = frame["lastUpdateId"]
            asks = {price: Decimal(quantity) for price, quantity in frame["asks"]}
        elif frame.get("stream", "").endswith("@depth@100ms"):
            early.append(frame["data"])
        for diff in early if newest is not None else ():
            if diff["u"] > newest:
                asks |= {price: Decimal(quantity) for price, quantity in diff["a"]}
                for price in [price for price, quantity in diff["a"] if not Decimal(quantity)]:
                    asks.pop(price)
                    taken.pop(price, None)
        early = [] if newest is not None else early
    return fills


async def test_fills_are_found_again_in_the_raw_frames(lines: list[Line], sqlite_url: str) -> None:
    dialect, instrument = Binance(), Instrument("binance", "BTCUSDT", "BTC", "USDT")
    (subscription,) = dialect.subscriptions([instrument], frozenset(Channel))
    sync, market = BookSync(dialect, instrument), Market("binance", "BTC-USDT")
    start = next(line.t for line in lines if '"lastUpdateId"' in line.frame) + 5 * NANOSECONDS
    clock = RecordedClock()
    clock.set(lines[0].t)
    replica = Replica(sqlite_url, clock)
    order, due = None, start
    for line in lines:
        while due < line.t and due <= start + DURATION * NANOSECONDS:
            clock.set(due)
            if order is None:
                fields = {"total_quantity": QUANTITY, "limit_price": LIMIT, "duration": DURATION, "interval": INTERVAL}
                order = await replica.submit(make_order("recorded", clock, markets=(market,), lot=LOT, **fields))
            await replica.work()
            due += INTERVAL * NANOSECONDS
        clock.set(line.t)
        if '"lastUpdateId"' in line.frame:
            for event in sync.snapshot(dialect.decode_book_snapshot(instrument, line.frame.encode(), line.t)):
                replica.see(event)
        elif "@depth" in line.frame or "@trade" in line.frame:
            for event in subscription.decode(line.frame.encode(), line.t):
                if isinstance(event, Trade):
                    replica.benchmarks.add(batch_trades([event], Source.STREAM), line.t)
                elif isinstance(event, BookUpdate):
                    for verified in sync.update(event):
                        replica.see(verified)
    ledger = await Ledger(replica.database).read()
    ledger.check()
    found = [(fill.slice, fill.price, Decimal(fill.quantity)) for fill in ledger.fills]
    expected = by_hand(lines, start)
    assert found == expected
    assert len({number for number, _, _ in found}) > 20, "most slices were filled"
    assert len(found) > 60, "slices took several levels"
    assert any(s.reason == "price_beyond_limit" for s in ledger.slices), "and the limit was felt"
    await trades_meanwhile(replica, lines, start)
    await replica.close()


async def trades_meanwhile(replica: Replica, lines: list[Line], start: int) -> None:
    """The period's VWAP is that of the raw trades from the first slice to the last."""
    volume = notional = Decimal()
    for line in lines:
        if "@trade" in line.frame and start < line.t < start + DURATION * NANOSECONDS:
            trade = json.loads(line.frame)["data"]
            volume += Decimal(trade["q"])
            notional += Decimal(trade["q"]) * Decimal(trade["p"])
    progress = (await read_order(replica.database, Reader(USER), "recorded")).progress
    assert progress.benchmark.volume == volume
    assert analytics.market_vwap(progress.benchmark) == round(notional / volume, 18)
