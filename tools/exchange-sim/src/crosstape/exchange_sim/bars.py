"""Candles: folded from a market's own trades, and before its first trade from a deterministic synthetic
history.

Synthetic volume, taker-buy volume and trade count are differences of smooth cumulative functions, so that
they add up exactly over any division of time. Open and close follow the latent price; high and low are
sampled, every minute for bars up to 15 minutes and coarser above, so a long bar's range may be narrower than
its parts'.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from crosstape.exchange_sim.instruments import USD_PRICES, Instrument
from crosstape.exchange_sim.latent import fair_price, noise, stream_key
from crosstape.exchange_sim.trade_history import Trade

MINUTE = 60
SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
FIRST_MONDAY = 4 * 86400
SYNTHETIC_TRADES_PER_SECOND = 2.0
SYNTHETIC_USD_PER_SECOND = 3000.0


@dataclass(slots=True)
class Bar:
    """Prices in ticks, volumes in lots, notionals in ticks x lots; `open_time` and `close_time` in Unix
    seconds, the close exclusive. A bar without trades has `trades == 0` and all prices equal."""

    open_time: int
    close_time: int
    open: int
    high: int
    low: int
    close: int
    volume: int = 0
    buy_volume: int = 0
    notional: int = 0
    buy_notional: int = 0
    trades: int = 0

    def add(self, trade: Trade) -> None:
        self.high = max(self.high, trade.price)
        self.low = min(self.low, trade.price)
        self.close = trade.price
        self.volume += trade.quantity
        self.notional += trade.price * trade.quantity
        if trade.side == "buy":
            self.buy_volume += trade.quantity
            self.buy_notional += trade.price * trade.quantity
        self.trades += 1


def empty_bar(open_time: int, close_time: int, price: int) -> Bar:
    return Bar(open_time, close_time, price, price, price, price)


def merged(open_time: int, close_time: int, bars: Iterable[Bar]) -> Bar | None:
    """One bar over several, in time order; None where nothing traded."""
    whole: Bar | None = None
    for bar in bars:
        if not bar.trades:
            continue
        if whole is None:
            whole = Bar(open_time, close_time, bar.open, bar.high, bar.low, bar.close)
        whole.high = max(whole.high, bar.high)
        whole.low = min(whole.low, bar.low)
        whole.close = bar.close
        whole.volume += bar.volume
        whole.buy_volume += bar.buy_volume
        whole.notional += bar.notional
        whole.buy_notional += bar.buy_notional
        whole.trades += bar.trades
    return whole


def folded(open_time: int, close_time: int, trades: Iterable[Trade]) -> Bar | None:
    bar: Bar | None = None
    for trade in trades:
        if bar is None:
            bar = empty_bar(open_time, close_time, trade.price)
        bar.add(trade)
    return bar


def open_time_of(interval: str, seconds: int) -> int:
    """The open of the bar holding `seconds`: UTC multiples, weeks on Monday, months by the calendar."""
    if interval == "1M":
        moment = datetime.fromtimestamp(seconds, UTC)
        return int(datetime(moment.year, moment.month, 1, tzinfo=UTC).timestamp())
    length = int(interval[:-1]) * SECONDS[interval[-1]]
    offset = FIRST_MONDAY if interval.endswith("w") else 0
    return (seconds - offset) // length * length + offset


def next_open(interval: str, open_time: int) -> int:
    if interval == "1M":
        return open_time_of("1M", open_time + 32 * 86400)
    return open_time + int(interval[:-1]) * SECONDS[interval[-1]]


def opens(interval: str, start: int, end: int) -> Iterator[int]:
    """Opens in [start, end), ascending."""
    open_time = open_time_of(interval, start)
    if open_time < start:
        open_time = next_open(interval, open_time)
    while open_time < end:
        yield open_time
        open_time = next_open(interval, open_time)


def cumulative(key: int, rate: float, seconds: int) -> int:
    """A growing function of time with average slope `rate`: its slope stays within 10 % and 190 % of it."""
    waves = sum(0.15 * period * noise(key + period, seconds / period) for period in (60, 3600, 86400))
    return int(rate * (seconds + waves))


def sample_step(length: int) -> int:
    if length <= 900:
        return 60
    if length <= 3600:
        return 900
    return 3600 if length <= 8 * 3600 else 6 * 3600


def synthetic(seed: int, instrument: Instrument, start: int, end: int) -> Bar:
    """The made-up past of [start, end), a pure function of its arguments."""

    def price(seconds: float) -> int:
        return max(1, round(fair_price(seed, instrument, seconds)))

    def grown(stream: str, rate: float) -> int:
        key = stream_key(seed, instrument.key, stream)
        return cumulative(key, rate, end) - cumulative(key, rate, start)

    bar = Bar(start, end, first := price(start + 0.1), first, first, last := price(end - 0.1))
    step = sample_step(end - start)
    samples = [last]
    for moment in range(start, end, step):
        samples += (price(moment + 0.1), price(min(end, moment + step) - 0.1))
    bar.high, bar.low = max(first, *samples), min(first, *samples)
    lots_per_second = SYNTHETIC_USD_PER_SECOND / 2 * lots_per_usd(instrument)
    bar.buy_volume = grown("buy volume", lots_per_second)
    bar.volume = bar.buy_volume + grown("sell volume", lots_per_second)
    average = (bar.open + bar.high + bar.low + bar.close) // 4
    bar.notional, bar.buy_notional = average * bar.volume, average * bar.buy_volume
    bar.trades = max(1, grown("trades", SYNTHETIC_TRADES_PER_SECOND))
    return bar


def lots_per_usd(instrument: Instrument) -> float:
    base_per_lot = float(instrument.contract_value) * 10.0**-instrument.quantity_decimals
    return 1.0 / (USD_PRICES.get(instrument.base, 1.0) * base_per_lot)
