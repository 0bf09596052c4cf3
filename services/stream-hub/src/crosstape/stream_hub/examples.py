"""The answers as the API's document describes them."""

from __future__ import annotations

from typing import Any

from crosstape.common.web.described import Described
from crosstape.stream_hub import schemas

Responses = dict[int | str, dict[str, Any]]


def _json(model: type[Described], example: Any) -> Responses:
    return {200: {"model": model, "content": {"application/json": {"example": example}}}}


BOOK = _json(
    schemas.Book,
    {
        "exchange": "kraken",
        "symbol": "ETH-USD",
        "canonical": "ETH-USD",
        "bids": [[2620.41, 0.79], [2620.4, 3.7]],
        "asks": [[2620.54, 3.21], [2620.65, 31.29]],
        "checksum": 740207416,
        "timestamp": 1739309016.756847,
        "sequence": 1048576,
        "age_ms": 12,
    },
)

CONSOLIDATED_BOOK = _json(
    schemas.ConsolidatedBook,
    {
        "symbol": "ETH-USD",
        "canonical": "ETH-USD",
        "quote_aliases": {"binance": "USDT", "okx": "USDT"},
        "bids": [[2620.6, 0.22, "okx"], [2620.49, 17.7, "binance"]],
        "asks": [[2620.5, 77.54, "binance"], [2620.57, 4.7, "kraken"]],
        "checksum": 1291637102,
        "timestamp": 1739309016.756847,
        "sequence": 3145728,
        "crossed": True,
        "venues": [
            {"exchange": "binance", "symbol": "ETH-USDT", "quote_alias": "USDT", "age_ms": 8, "sequence": 1048576},
            {"exchange": "kraken", "symbol": "ETH-USD", "age_ms": 12, "sequence": 1048576},
            {"exchange": "okx", "symbol": "ETH-USDT", "quote_alias": "USDT", "age_ms": 3, "sequence": 1048576},
        ],
        "stale": [{"exchange": "coinbasepro", "symbol": "ETH-USD", "reason": "silent", "age_ms": 31200}],
    },
)
