"""Which of the configured symbols the exchange lists: one that it does not, for example while it is halted, is left out
until it does again, as is a market of the same name as another."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Collection, Sequence

import msgspec
import structlog
from msgspec import Struct
from prometheus_client import Gauge

from crosstape.common.errors import ExchangeError, SymbolNotFound
from crosstape.common.market.instrument import Instrument
from crosstape.common.runtime.health import Check
from crosstape.common.symbols import QUOTE_ALIASES, SymbolTable
from crosstape.exchanges.ccxt_generic import CcxtExchange
from crosstape.exchanges.rest import ExchangeRest
from crosstape.ingestor.feed import backoff

log = structlog.get_logger(__name__)

LOOK_SECONDS = 300.0
"""How often an exchange that did not list a symbol is asked again."""

UNLISTED = Gauge(
    "crosstape_ingestor_unlisted_symbols",
    "Configured symbols that the exchange does not list, or that name a market called as another one",
    ["exchange"],
)


class Choice(Struct, frozen=True):
    """The instruments of the symbols that are listed, no two of one name, and the symbols that are left out."""

    instruments: list[Instrument]
    unlisted: list[str]

    def shown_in(self, check: Check) -> Check:
        """`check`, with the symbols that are left out named for operators."""
        return msgspec.structs.replace(check, detail=check.detail | {"unlisted": self.unlisted})


async def choose(exchange: str, source: ExchangeRest | CcxtExchange, symbols: Sequence[str]) -> Choice:
    """What `exchange` lists of `symbols`, however long its market list is away.

    Two markets of one name would share one tape: the later one is left out. Raises SymbolNotFound when it lists none of
    them, or one is ambiguous, ValidationFailed for a text no symbol can be.
    """
    table = await _table(exchange, source)
    chosen: dict[str, Instrument] = {}
    unlisted: list[str] = []
    for symbol in dict.fromkeys(symbols):
        found = _named(table, symbol)
        if found is None:
            unlisted.append(symbol)
            log.warning("symbol_not_listed", exchange=exchange, symbol=symbol)
        elif (first := chosen.setdefault(found.symbol, found)) != found:
            unlisted.append(symbol)
            both = [first.exchange_symbol, found.exchange_symbol]
            log.warning("symbols_of_one_name", exchange=exchange, name=found.symbol, markets=both, left_out=symbol)
    if unlisted and not chosen:
        raise SymbolNotFound(
            f"{exchange} lists none of {', '.join(unlisted)}. GET /{exchange}/symbols shows what it lists.",
            {"suggestions": table.suggest(unlisted[0])},
        )
    log.info("ingesting", exchange=exchange, symbols=[*chosen])
    UNLISTED.labels(exchange).set(len(unlisted))
    return Choice([*chosen.values()], unlisted)


async def until_listed(exchange: str, source: ExchangeRest | CcxtExchange, choice: Choice) -> None:
    """Return once the exchange lists a symbol that `choice` left out, and that may be read; never where there are
    none."""
    taken = {instrument.symbol for instrument in choice.instruments}
    is_listed = False
    while not is_listed:
        await asyncio.sleep(LOOK_SECONDS)
        if choice.unlisted:
            table = await _table(exchange, source)
            is_listed = any(_lists(table, symbol, taken) for symbol in choice.unlisted)


def _named(table: SymbolTable, symbol: str) -> Instrument | None:
    """The instrument that `symbol` names, None while it is not listed. One in another quote stands in for it where the
    exchange lists nothing in the quote that was asked for: elsewhere that market is halted, and the other not meant.

    Raises SymbolNotFound where it is ambiguous, ValidationFailed for a text no symbol can be.
    """
    found = table.find(symbol)
    if found is None:
        return None
    asked = {quote for quote, stand_ins in QUOTE_ALIASES.items() if found.quote_alias in stand_ins}
    return None if any(instrument.quote in asked for instrument in table.instruments) else found.instrument


def _lists(table: SymbolTable, symbol: str, taken: Collection[str]) -> bool:
    """Whether `symbol` names a market that is not called as one of `taken`."""
    try:
        found = _named(table, symbol)
        return found is not None and found.symbol not in taken
    except SymbolNotFound:  # ambiguous by now, which must not end the others
        return False


async def _table(exchange: str, source: ExchangeRest | CcxtExchange) -> SymbolTable:
    failures = 0
    while True:
        try:
            return SymbolTable(exchange, await source.markets())
        except ExchangeError as error:
            failures += 1
            log.warning("markets_unavailable", exchange=exchange, error=error.message)
            await asyncio.sleep(backoff(failures, 0.5 + random.random() / 2))
