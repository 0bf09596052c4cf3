"""ccxt.pro as a user runs it: a real exchange object and its own client's message handling (with orjson).

Markets are set from the input's instruments instead of the exchange's REST, in ccxt's own market structure. Nobody
waits for its futures, which would cost it more. What a socket would add (`aiohttp`) is not in here.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import ccxt.pro
from aiohttp import WSMessage, WSMsgType

from bench.inputs import Input
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.exchanges.dialect import Channel

_NAMES = {"coinbasepro": "coinbaseexchange"}


def runner(source: Input, *, depth: int = 0) -> Callable[[], int]:
    """A fresh exchange, then a call that runs all frames through it; it returns how many items it kept or updated.

    With `depth` that many of the best levels of the updated book are read after every frame.
    """
    loop = asyncio.new_event_loop()
    exchange = getattr(ccxt.pro, _NAMES.get(source.dialect.exchange, source.dialect.exchange))()
    client = loop.run_until_complete(_client(exchange, source))

    async def everything() -> None:
        handle = client.handle_message
        text = WSMsgType.TEXT
        for frame in source.ccxt:
            handle(WSMessage(text, frame, None))
            if depth:
                for book in exchange.orderbooks.values():
                    book["bids"][:depth], book["asks"][:depth]

    def run() -> int:
        loop.run_until_complete(everything())
        if source.channel is Channel.TRADES:
            kept = exchange.trades
        else:
            kept = {symbol: book for symbol, book in exchange.orderbooks.items() if book["timestamp"]}
        loop.run_until_complete(exchange.close())
        loop.close()
        if len(kept) == 0:
            raise RuntimeError(f"ccxt kept nothing of {source.name}")
        return source.items

    return run


async def _client(exchange: Any, source: Input) -> Any:
    exchange.set_markets([_market(exchange, instrument) for instrument in source.instruments])
    client = exchange.client(source.url)
    for market in exchange.markets.values():
        for channel in ("books", "books-l2-tbt"):  # okx drops books that nobody subscribed
            client.subscriptions[f"{channel}:{market['symbol']}"] = True
        client.subscriptions[f"orderbook:{market['symbol']}"] = {"limit": 1000}  # kraken reads its depth here
    if source.snapshot:
        body = json.loads(source.snapshot)
        symbol = next(iter(exchange.markets))
        snapshot = exchange.parse_order_book(body, symbol)
        snapshot["nonce"] = body["lastUpdateId"]
        exchange.orderbooks[symbol] = exchange.order_book({}, None)
        exchange.orderbooks[symbol].reset(snapshot)
    return client


def _market(exchange: Any, instrument: Instrument) -> dict[str, Any]:
    is_swap = instrument.kind is Kind.PERPETUAL
    pair = f"{instrument.base}/{instrument.quote}"
    market = {
        "id": instrument.exchange_symbol,
        "symbol": f"{pair}:{instrument.quote}" if is_swap else pair,
        "base": instrument.base,
        "quote": instrument.quote,
        "baseId": instrument.base,
        "quoteId": instrument.quote,
        "settle": instrument.quote if is_swap else None,
        "type": "swap" if is_swap else "spot",
        "spot": not is_swap,
        "swap": is_swap,
        "contract": is_swap,
        "linear": True if is_swap else None,
        "contractSize": 1.0 if is_swap else None,
        "active": True,
        "precision": {"price": 1e-8, "amount": 1e-8},
        "info": {},
    }
    structure: dict[str, Any] = exchange.safe_market_structure(market)
    return structure
