"""The answers as the API's document describes them, with the seeds' examples."""

from __future__ import annotations

from typing import Any

from crosstape.common.web.described import Described
from crosstape.history.api import schemas

Responses = dict[int | str, dict[str, Any]]
Headers = dict[str, dict[str, Any]]


_LEGACY_TIMES = {
    "Deprecation": {
        "description": "Where a time came as `YYYYMMDD-HHmm`: write ISO 8601.",
        "schema": {"type": "string", "const": "true"},
    }
}
_QUOTE_ALIAS = {
    "X-Quote-Alias": {
        "description": "The market's quote, such as `USDT`, where it stands in for the one asked for.",
        "schema": {"type": "string"},
    }
}
_BYTES = {"type": "string", "format": "binary"}
_OF_EXCHANGES: Responses = {502: {"description": "An exchange answered with an error, or not in time."}}
"""Of what looks a symbol up in the exchanges' own lists."""


def _json(model: Any, example: Any, headers: Headers | None = None) -> Responses:
    return {200: {"model": model, "content": {"application/json": {"example": example}}, "headers": headers or {}}}


def _or_file(model: type[Described], example: Any) -> Responses:
    content: dict[str, Any] = {
        "application/json": {"example": example},
        "text/csv": {"schema": {"type": "string"}},
        "application/vnd.apache.arrow.stream": {"schema": _BYTES},
        "application/vnd.apache.parquet": {"schema": _BYTES},
    }
    page = {"model": model, "description": "A page as JSON, or all rows as a file by `Accept`.", "content": content}
    return {200: page | {"headers": _LEGACY_TIMES | _QUOTE_ALIAS}} | _OF_EXCHANGES


BARS = _or_file(
    schemas.BarPage,
    {
        "exchange": "binance",
        "symbol": "btcusdt",
        "canonical": "BTC-USDT",
        "bars": [
            {
                "timestamp": 1672531200,
                "open": 16542.3,
                "high": 16559.2,
                "low": 16521.9,
                "close": 16533.1,
                "volume": 4500.23,
                "volume_delta": -150.78,
                "trades": 18204,
                "status": "final",
                "revision": 0,
                "volume_unknown": 0,
            }
        ],
        "next_cursor": "kqFizmOwzTw",
    },
)

TRADES = _or_file(
    schemas.TradePage,
    {
        "exchange": "binance",
        "symbol": "btcusdt",
        "canonical": "BTC-USDT",
        "trades": [
            {"trade_id": 2389017, "timestamp": 1672531200.123456, "price": 16542.3, "quantity": 0.25, "side": "sell"}
        ],
        "next_cursor": "k6F0zgAkdBqg",
    },
)

_CANDLES = {
    "success": True,
    "data": [
        {
            "candle_time": "2025-07-01T00:00:00",
            "symbol": "BINANCE:BTCUSDT.P",
            "open": 50000.0,
            "high": 51000.0,
            "low": 49500.0,
            "close": 50500.0,
            "volume": 1234567.89,
        }
    ],
    "metadata": {
        "total_records": 1,
        "limit": 100,
        "offset": 0,
        "has_more": False,
        "query_time_ms": 45.2,
        "timestamp": "2025-11-13T10:30:45.123Z",
    },
}
CANDLES = _json(schemas.Candles, _CANDLES, _LEGACY_TIMES | _QUOTE_ALIAS) | _OF_EXCHANGES
LATEST_CANDLE = _json(schemas.Candles, _CANDLES, _QUOTE_ALIAS) | _OF_EXCHANGES

KLINES = (
    _json(
        list[schemas.Kline],
        [
            {
                "timestamp": 1735689600000,
                "date": "2025-01-01 00:00:00",
                "open": 93576,
                "high": 95151.15,
                "low": 92888,
                "close": 94591.79,
                "volume": 10373.32613,
            }
        ],
        _LEGACY_TIMES | _QUOTE_ALIAS,
    )
    | _OF_EXCHANGES
)

COMPLETENESS = (
    _json(
        schemas.CompletenessPage,
        {
            "exchange": "binance",
            "symbol": "btcusdt",
            "canonical": "BTC-USDT",
            "minutes": [
                {
                    "timestamp": 1672531200,
                    "status": "repaired",
                    "cause": "disconnect",
                    "trades": 18204,
                    "first_trade_id": 2388102,
                    "last_trade_id": 2406305,
                }
            ],
            "missing_ids": [],
            "next_cursor": "kqFizmOwzTw",
        },
        _LEGACY_TIMES,
    )
    | _OF_EXCHANGES
)

EXCHANGES = _json(schemas.Exchanges, {"exchanges": ["binance", "kraken", "coinbasepro", "okx"]})
SYMBOLS = _json(schemas.Symbols, {"symbols": ["BTCUSDT", "ETHUSDT", "BNBUSDT"]}) | _OF_EXCHANGES
