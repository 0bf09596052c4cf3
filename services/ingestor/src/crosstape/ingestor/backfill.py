"""`python -m crosstape.ingestor.backfill EXCHANGE SYMBOL --since T [--until T]`: history onto the bus.

Prints JSON lines `{"done": seconds covered, "total": seconds asked for, "trades": n, "message": text}`. Safe to run
again and beside a live ingestor: a trade counts once however often it arrives.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections.abc import Sequence
from functools import partial

import aiohttp
import msgspec

from crosstape.common.bus.producer import Producer
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.bus.topics import LEDGER, TRADES, market_key
from crosstape.common.errors import PlatformError, ServiceUnavailable, ValidationFailed
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.instrument import Instrument
from crosstape.common.market.ledger import Coverage, Gap, GapState
from crosstape.common.market.trade import Source, batch_trades
from crosstape.common.runtime.settings import BusUserSettings, read_settings
from crosstape.common.symbols import SymbolTable
from crosstape.common.time import parse_time
from crosstape.exchanges import dialect_of
from crosstape.exchanges.dialect import HistoryQuery
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.outages import HISTORY_LAG

_encoder = msgspec.json.Encoder()


class _Settings(BusUserSettings):
    exchange_origin: str = ""


async def backfill(settings: _Settings, exchange: str, symbol: str, start: int, end: int) -> None:
    """Publish every trade of [start, end) ns that the exchange's history gives, then say so in the ledger, which names
    those that no tape can hold. What its history may not have yet is not vouched for.

    Raises PlatformError when nothing of the time is over, the exchange or symbol is unknown, the exchange keeps failing
    or the bus lost what was published, BrokerRefused.
    """
    end = min(end, time.time_ns())
    if end <= start:
        raise ValidationFailed("There is nothing to fetch yet: --since is not before now.")
    dialect = dialect_of(exchange)
    async with aiohttp.ClientSession() as session:
        rest = ExchangeRest(dialect, settings.exchange_origin or None, session)
        instrument = SymbolTable(dialect.exchange, await rest.markets()).resolve(symbol).instrument
        losses: list[str] = []
        async with Producer(settings.bus, on_loss=losses.append) as producer:
            await _publish(rest, producer, losses, instrument, start, end)


async def _publish(
    rest: ExchangeRest, producer: Producer, losses: Sequence[str], instrument: Instrument, start: int, end: int
) -> None:
    """As `backfill`; `losses` says what the bus may have lost meanwhile."""
    key = market_key(instrument.exchange, instrument.symbol)
    report = partial(_report, total=(end - start) // NANOSECONDS)
    trades, reaches_back = 0, True
    oldest, newest = end, start
    known_until = min(end, time.time_ns() - HISTORY_LAG)
    report(0, 0, f"{instrument.exchange} {instrument.symbol}")
    async for page in rest.trade_history(HistoryQuery(instrument, None, None, start, end)):
        reaches_back = page.reaches_back
        wanted = [trade for trade in page.trades if start <= trade.time < end]
        if wanted:
            await producer.send(TRADES, key, batch_trades(wanted, Source.HISTORY))
            trades += len(wanted)
            oldest = min(oldest, *(trade.time for trade in wanted), end)
            newest = max(newest, *(trade.time for trade in wanted), start)
        for refused in page.refused:
            if start <= refused.time < end:
                await producer.deliver(LEDGER, key, _given_up(instrument, refused.time, refused.time + 1, "malformed"))
        report(min(newest - oldest, end - start) // NANOSECONDS if trades else 0, trades, "")
    await producer.flush()
    if losses:
        raise ServiceUnavailable(f"The bus may have lost trades ({losses[0]}): run the backfill again.")
    reached = start if reaches_back else oldest
    if reached < known_until:
        await producer.deliver(LEDGER, key, Coverage(instrument.exchange, instrument.symbol, reached, known_until))
    if not reaches_back:
        await producer.deliver(LEDGER, key, _given_up(instrument, start, reached, "backfill"))
    message = "complete" if reaches_back else "the exchange's history does not reach back to --since"
    report((end - reached) // NANOSECONDS, trades, message)


def _given_up(instrument: Instrument, start: int, end: int, cause: str) -> Gap:
    state, now = GapState.UNFILLABLE, time.time_ns()
    return Gap(instrument.exchange, instrument.symbol, None, None, start, end, cause, state, 0, now)


def _report(done: int, trades: int, message: str, *, total: int) -> None:
    line = {"done": done, "total": total, "trades": trades, "message": message}
    print(_encoder.encode(line).decode(), flush=True)


def main() -> None:
    """Entry point; exits 1 with one line when it cannot go on."""
    parser = argparse.ArgumentParser(prog="crosstape backfill", description=__doc__)
    parser.add_argument("exchange")
    parser.add_argument("symbol")
    parser.add_argument("--since", required=True, help="ISO 8601 time or date, or Unix seconds")
    parser.add_argument("--until", help="the same; default: now")
    arguments = parser.parse_args()
    try:
        start = parse_time(arguments.since, unix=True, date=True).nanoseconds
        until = arguments.until
        end = parse_time(until, unix=True, date=True).nanoseconds if until else time.time_ns()
        if end <= start:
            sys.exit("backfill: --until must be after --since")
        asyncio.run(backfill(read_settings(_Settings), arguments.exchange, arguments.symbol, start, end))
    except (PlatformError, BrokerRefused) as error:
        sys.exit(f"backfill: {error}")


if __name__ == "__main__":
    main()
