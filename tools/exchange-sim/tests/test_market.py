"""Order flow, latent prices, candles, history and book views, without a socket."""

import time
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.exchange_sim.__main__ import parser
from crosstape.exchange_sim.bars import lots_per_usd, merged, open_time_of, synthetic
from crosstape.exchange_sim.book_view import BookView
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.decimal_text import fixed, parsed, trimmed
from crosstape.exchange_sim.faults import Faults
from crosstape.exchange_sim.instruments import BASES, EXCHANGES, instrument, listing
from crosstape.exchange_sim.latent import fair_price
from crosstape.exchange_sim.market import KEPT_MINUTES, Market
from crosstape.exchange_sim.order_flow import OrderFlow
from crosstape.exchange_sim.settings import SimConfig
from crosstape.exchange_sim.simulation import Simulation
from crosstape.exchange_sim.state import StateStore
from crosstape.exchange_sim.trade_history import Trade, TradeHistory

START_NS = 1_750_000_030_000_000_000
BTC = instrument("binance", "spot", "BTC", "USDT", is_active=True)


def flow(seed: int = 5, rate: float = 50.0) -> OrderFlow:
    market = Market(BTC, seed, history_limit=10_000, first_number=1000, since=START_NS // 10**9)
    one = OrderFlow(market, seed, rate, 100)
    one.open_book(START_NS)
    return one


def run(one: OrderFlow, seconds: int) -> list[Trade]:
    return [trade for step in range(1, seconds * 20 + 1) for trade in one.step(START_NS + step * 50_000_000)]


@given(st.integers(0, 10**15), st.integers(0, 10))
def test_decimal_texts_are_exact(number: int, decimals: int) -> None:
    expected = Decimal(number).scaleb(-decimals)
    assert Decimal(fixed(number, decimals)) == Decimal(trimmed(number, decimals)) == expected
    assert parsed(fixed(number, decimals, decimals + 3), decimals) == number


def test_same_seed_and_times_give_the_same_trades_and_another_seed_others() -> None:
    assert run(flow(), 5) == run(flow(), 5)
    assert run(flow(), 5) != run(flow(seed=6), 5)


def test_a_book_that_a_late_step_empties_draws_no_more_takers_than_a_full_one() -> None:
    one, seconds = flow(rate=2_000.0), 2
    one.step(START_NS + seconds * 10**9)
    assert not (one.market.engine.bids.prices and one.market.engine.asks.prices), "it was emptied"
    assert one.market.engine.last_order_id < 2 * one.rate * seconds


def test_trades_go_on_after_the_machines_clock_was_set_back() -> None:
    one = flow()
    before = run(one, 5)
    hour_ns = 3_600 * 10**9
    after = [trade for step in range(100) for trade in one.step(START_NS - hour_ns + step * 50_000_000)]
    assert after and after[0].number == before[-1].number + 1


def test_trades_have_consecutive_ids_and_times_that_never_go_back_or_lie_ahead() -> None:
    trades = run(flow(), 20)
    assert [trade.number for trade in trades] == list(range(1000, 1000 + len(trades)))
    times = [trade.time_ns for trade in trades]
    assert times == sorted(times)
    assert START_NS <= times[0] <= times[-1] <= START_NS + 20 * 10**9
    assert all(moment % 1_000_000 == 0 for moment in times)
    assert 500 < len(trades) < 2000
    assert {trade.side for trade in trades} == {"buy", "sell"}


def test_venues_agree_but_for_small_gaps() -> None:
    dollars = [one for one in listing(EXCHANGES, BASES[:20]) if one.base == "BTC" and one.quote in ("USD", "USDT")]
    prices = [fair_price(3, one, 1.75e9) / 10**one.price_decimals for one in dollars]
    assert len(set(prices)) == len(prices) == 8
    assert max(prices) / min(prices) < 1.001


def test_every_instrument_trades_at_its_latent_price() -> None:
    for one in listing(EXCHANGES, BASES[:20]):
        assert fair_price(1, one, time.time()) > 100, one
        assert lots_per_usd(one) * 500 >= 1, one


def test_named_bases_are_the_only_ones_simulated_and_have_all_the_trades() -> None:
    config = SimConfig(exchanges=("binance", "kraken"), bases=("APT", "BTC"), rate=100.0)
    faults = Faults(config.seed, config.faults)
    simulation = Simulation(config, faults, ExchangeClock(faults))
    fast = {one.key: flow.rate for flow in simulation.flows if (one := flow.market.instrument).is_active}
    assert {market.instrument.base for market in simulation.markets.values()} == {"APT", "BTC"}
    assert {"binance:spot:APTUSDT", "kraken:spot:APT/USD", "binance:perpetual:BTCUSDT"} < fast.keys()
    assert sum(fast.values()) == pytest.approx(100.0)


@pytest.mark.parametrize("options", [["--bases", "NOPE"], ["--bases", "BTC", "--symbols", "2"]])
def test_unknown_bases_and_two_ways_to_say_which_are_refused(options: list[str]) -> None:
    with pytest.raises(SystemExit):
        parser().parse_args(options)


@pytest.mark.parametrize("interval", [("1m", 60), ("15m", 900), ("1h", 3600)])
def test_synthetic_bars_add_up_and_hold_their_parts(interval: tuple[str, int]) -> None:
    start = 1_700_000_000 // 3600 * 3600
    whole = synthetic(9, BTC, start, start + 3600)
    moments = range(start, start + 3600, interval[1])
    parts = [synthetic(9, BTC, moment, moment + interval[1]) for moment in moments]
    assert whole == synthetic(9, BTC, start, start + 3600)
    assert sum(part.volume for part in parts) == whole.volume
    assert sum(part.buy_volume for part in parts) == whole.buy_volume
    assert (parts[0].open, parts[-1].close) == (whole.open, whole.close)
    assert all(part.low <= min(part.open, part.close) <= max(part.open, part.close) <= part.high for part in parts)


def test_bars_are_the_fold_of_the_market_s_own_trades() -> None:
    one = flow()
    trades = run(one, 130)
    market, minute = one.market, START_NS // 10**9 // 60 * 60 + 60
    own = [trade for trade in trades if minute <= trade.time_ns // 10**9 < minute + 60]
    (bar,) = market.bars("1m", minute, minute + 60, limit=10, newest=False)
    assert (bar.open, bar.close, bar.trades) == (own[0].price, own[-1].price, len(own))
    assert bar.high == max(trade.price for trade in own)
    assert bar.volume == sum(trade.quantity for trade in own)
    assert bar.buy_volume == sum(trade.quantity for trade in own if trade.side == "buy")
    seconds = market.bars("1s", minute, minute + 60, limit=60, newest=False)
    assert len(seconds) == 60
    joined = merged(minute, minute + 60, seconds)
    assert joined == bar


def test_newest_bars_end_with_the_open_one() -> None:
    bars = flow().market.bars("5m", 0, START_NS // 10**9, limit=3, newest=True)
    opened = open_time_of("5m", START_NS // 10**9 - 1)
    assert [bar.open_time for bar in bars] == [opened - 600, opened - 300, opened]


def test_weeks_open_on_monday_and_months_by_the_calendar() -> None:
    assert open_time_of("1w", 1_750_000_000) == 1_749_427_200
    assert open_time_of("1M", 1_750_000_000) == 1_748_736_000


@given(st.lists(st.integers(1, 3), min_size=1, max_size=60), st.integers(1, 20), st.integers(0, 200))
def test_history_keeps_the_newest_and_finds_by_number(steps: list[int], limit: int, wanted: int) -> None:
    history = TradeHistory(limit)
    numbers: list[int] = []
    for step in steps:
        numbers.append((numbers[-1] if numbers else 0) + step)
        history.append(Trade(numbers[-1], numbers[-1] * 10, 1, 1, "buy", 1))
    kept = numbers[-len(history) :]
    assert list(history.numbers) == kept and len(kept) >= min(limit, len(numbers))
    assert [row.number for row in history.from_number(wanted, 5)] == [n for n in kept if n >= wanted][:5]
    assert [row.number for row in history.before_number(wanted, 5)] == [n for n in kept if n < wanted][-5:]
    assert [row.number for row in history.from_time(wanted * 10, 5)] == [n for n in kept if n >= wanted][:5]


@pytest.mark.parametrize("depth", [None, 5, 1000])
def test_a_client_that_applies_the_changes_has_the_book(depth: int | None) -> None:
    one = flow()
    engine = one.market.engine
    view = BookView(engine, depth)
    client = dict(view.bids)
    for step in range(1, 100):
        one.step(START_NS + step * 50_000_000)
        view.changed |= engine.take_changed()
        for price, quantity in view.advance()[0]:
            client[price] = quantity
            if not quantity:
                del client[price]
        assert client == dict(engine.bids.top(depth or 10_000))


def test_minutes_beyond_those_kept_become_synthetic(tmp_path: Path) -> None:
    opened = START_NS // 10**9 // 60 * 60
    market = Market(BTC, 5, history_limit=10, first_number=1, since=opened)
    for minute in range(KEPT_MINUTES + 10):
        market.record(Trade(minute + 1, (opened + minute * 60) * 10**9, 100 + minute, 7, "buy", 0))
    assert len(market.minutes) == KEPT_MINUTES
    assert market.since == opened + 600
    older, newer = market.bars("1m", opened + 540, opened + 660, limit=2, newest=False)
    assert older == synthetic(5, BTC, opened + 540, opened + 600)
    assert (newer.open, newer.volume) == (110, 7)

    store = StateStore(tmp_path)
    store.save([market])
    again = Market(BTC, 5, history_limit=10, first_number=1, since=opened + 10**6)
    StateStore(tmp_path).adopt([again])
    assert (again.minutes, again.since) == (market.minutes, market.since)
