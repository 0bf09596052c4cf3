"""What FastAPI cannot know because bodies are read and written exactly: the request's schema, and the answers' with the
seed's examples."""

from __future__ import annotations

from typing import Any

from crosstape.common.market.decimals import INTEGER_DIGITS, SCALE
from crosstape.common.symbols import LONGEST
from crosstape.twap_engine.api import schemas
from crosstape.twap_engine.api.requests import LONGEST_DURATION, MOST_ORDERS, MOST_SLICES, ORDER_ID

Responses = dict[int | str, dict[str, Any]]

_ORDER = {
    "order_id": "twap_001",
    "symbol": "BTC-USD",
    "side": "buy",
    "total_quantity": 1.0,
    "limit_price": 30000.0,
    "duration": 5,
    "interval": 1,
}
_POSITIVE = {
    "anyOf": [
        {"type": "number", "exclusiveMinimum": 0},
        {"type": "string", "pattern": rf"^[0-9]{{1,{INTEGER_DIGITS}}}(\.[0-9]{{1,{SCALE}}})?$"},
    ],
    "description": f"exact, above 0: at most {INTEGER_DIGITS} digits before the point and {SCALE} after it; as text "
    "where a language's numbers hold fewer",
}
_ORDER_SCHEMA = {
    "type": "object",
    "title": "TwapOrder",
    "description": "An order to buy or sell in slices, spread evenly over a time.",
    "additionalProperties": False,
    "required": ["symbol", "side", "total_quantity", "limit_price", "duration", "interval"],
    "properties": {
        "order_id": {
            "anyOf": [{"type": "string", "pattern": f"^{ORDER_ID.pattern}$"}, {"type": "null"}],
            "description": "yours to choose; the same request again gets the same answer. Made up if left out",
        },
        "symbol": {"type": "string", "minLength": 1, "maxLength": LONGEST, "description": "in any spelling"},
        "side": {"type": "string", "enum": ["buy", "sell"]},
        "total_quantity": _POSITIVE,
        "limit_price": _POSITIVE,
        "duration": {"type": "integer", "minimum": 1, "maximum": LONGEST_DURATION, "description": "seconds"},
        "interval": {
            "type": "integer",
            "minimum": 1,
            "description": f"seconds from slice to slice, at most `duration`; {MOST_SLICES} slices at most",
        },
        "exchange": {"type": ["string", "null"], "description": "where to fill; every exchange if left out"},
    },
    "examples": [_ORDER],
}
REQUEST_SCHEMAS = {"TwapOrder": _ORDER_SCHEMA}
_ORDER_REF = {"$ref": "#/components/schemas/TwapOrder"}
REQUEST_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "application/json": {
                "schema": {
                    "oneOf": [
                        _ORDER_REF,
                        {"type": "array", "minItems": 1, "maxItems": MOST_ORDERS, "items": _ORDER_REF},
                    ]
                },
                "examples": {
                    "one": {"summary": "One order", "value": _ORDER},
                    "several": {
                        "summary": "Several, all accepted or none",
                        "value": [
                            _ORDER,
                            _ORDER | {"order_id": "twap_002", "symbol": "ETH-USD", "limit_price": 2600.0},
                        ],
                    },
                },
            }
        },
    }
}

_DETAIL = {
    "order_id": "twap_001",
    "username": "admin",
    "symbol": "ETH-USD",
    "side": "buy",
    "duration": 60,
    "interval": 12,
    "total_quantity": 1.0,
    "limit_price": 2615.0,
    "status": "open",
    "close_reason": None,
    "executions": [
        {
            "price": 2611.01,
            "quantity": 0.1666,
            "timestamp": "2025-02-11T21:22:55.756847",
            "exchange": "binance",
            "symbol": "ETH-USDT",
            "fee": 0.434994266,
            "slice": 0,
            "receipt": {
                # pragma: allowlist nextline secret
                "book_hash": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08",
                "arrival_price": 2611.005,
                "mid_price": 2611.005,
                "interval_twap": 2610.98,
                "interval_vwap": 2611.02,
            },
        }
    ],
    "exchange": None,
    "markets": [
        {"exchange": "binance", "symbol": "ETH-USDT", "quote_alias": "USDT"},
        {"exchange": "kraken", "symbol": "ETH-USD"},
    ],
    "filled_quantity": 0.1666,
    "unfilled_quantity": 0.8334,
    "average_price": 2611.01,
    "notional": 434.994266,
    "fees": 0.434994266,
    "arrival_price": 2611.005,
    "benchmark": {"twap": 2610.98, "vwap": 2611.02, "seconds": 0.006847},
    "slippage_bps": {"arrival": 0.0191, "twap": 0.1149, "vwap": -0.0383},
    "participation_rate": 0.0031,
    "exchanges": [{"exchange": "binance", "quantity": 0.1666, "notional": 434.994266, "fees": 0.434994266, "share": 1}],
    "progress": {"filled": 0.1666, "slices": 6, "slices_run": 1, "slices_missed": 0, "slices_short": {}},
    "created_at": "2025-02-11T21:22:55.750000",
    "closed_at": None,
    "estimated_completion": "2025-02-11T21:23:55.750000",
    "warnings": [],
}


def _answers(model: Any, example: Any, *statuses: int, headers: dict[str, Any] | None = None) -> Responses:
    found: dict[str, Any] = {"model": model, "content": {"application/json": {"example": example}}}
    if headers:
        found["headers"] = headers
    errors: Responses = {status: {"description": "an error of the contract's form"} for status in statuses}
    return {200: found, **errors}


_CURSOR = {"X-Next-Cursor": {"description": "`cursor` of the next page, if there is one", "schema": {"type": "string"}}}

ACCEPTED = _answers(
    schemas.Receipts,
    {"message": "TWAP order accepted", "order_id": "twap_001", "quote_aliases": {"binance": "USDT"}},
    401,
    403,
    404,
    409,
    413,
    422,
    503,
)
LIST = _answers(
    list[schemas.OrderSummary],
    [
        {
            "order_id": "order123",
            "username": "admin",
            "symbol": "ETH-USD",
            "duration": 60,
            "interval": 1,
            "order_status": "closed",
            "status": "closed",
        }
    ],
    401,
    403,
    404,
    422,
    503,
    headers=_CURSOR,
)
DETAIL = _answers(schemas.OrderDetail, _DETAIL, 401, 403, 404, 409, 422, 503)
CANCELLED = _answers(
    schemas.OrderDetail,
    _DETAIL | {"status": "cancelled", "close_reason": "cancelled", "estimated_completion": None},
    401,
    403,
    404,
    409,
    422,
    503,
)
