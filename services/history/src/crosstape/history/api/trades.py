"""Trades: seed 0's second route."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated

import msgspec
from fastapi import APIRouter, Header, Query, Response
from msgspec import Struct

from crosstape.common.web.layout import layout_of
from crosstape.history.api import examples
from crosstape.history.api.answers import page_response, tell_quote_alias
from crosstape.history.api.cursor import TradeCursor, encode_cursor, trade_cursor
from crosstape.history.api.export import export_trades
from crosstape.history.api.parameters import PageParameters, time_range
from crosstape.history.api.resources import Context
from crosstape.history.api.tape import FIRST, TradeQuery, following

router = APIRouter(tags=["trades"])


class _Key(Struct):
    trade_id: int | str
    timestamp: Decimal


@router.get(
    "/api/v1/trades/{exchange}/{symbol:path}",
    summary="The tape of a market, paged by cursor",
    responses=examples.TRADES,
)
async def trades(
    context: Context,
    response: Response,
    exchange: str,
    symbol: str,
    asked: Annotated[PageParameters, Query()],
    accept: Annotated[str, Header(include_in_schema=False)] = "",
) -> Response:
    span = time_range(asked.start, asked.end, response, unix=True)
    market = await context.markets.resolve(exchange, symbol)
    first = FIRST if asked.cursor is None else trade_cursor(asked.cursor)
    query = TradeQuery(market, span.start or 0, span.end, first)
    if (layout := layout_of(accept)) is not None:
        tell_quote_alias(market, response)
        return await export_trades(context.exports, query, layout, response.headers)
    quoted, limit = asked.numbers == "string", asked.limit
    if span.start is None and asked.cursor is None:
        lines = await context.reads.json_lines("newest_trades", quote_decimals=quoted, limit=limit, **query.range)
        return page_response(market, symbol, "trades", lines[::-1], None, response.headers)
    lines = await context.reads.json_lines(
        "trades", quote_decimals=quoted, limit=limit + 1, **query.range, **query.place
    )
    next_page = encode_cursor(_key_after(lines[limit - 1])) if len(lines) > limit else None
    return page_response(market, symbol, "trades", lines[:limit], next_page, response.headers)


def _key_after(line: bytes) -> TradeCursor:
    key = msgspec.json.decode(line, type=_Key)
    return following(key.trade_id, int(key.timestamp * 1000))
