"""Bodies: JSON that ClickHouse or msgspec wrote, sent as it is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from crosstape.history.api.markets import Market

_encoder = msgspec.json.Encoder()


def json_response(body: Any, headers: Mapping[str, str] | None = None) -> Response:
    """`body` as JSON."""
    return Response(_encoder.encode(body), headers=dict(headers or {}), media_type="application/json")


def tell_quote_alias(market: Market, response: Response) -> None:
    """Say in a header of `response` which quote stands in for the one asked for: its body has no place for it."""
    if market.quote_alias:
        response.headers["X-Quote-Alias"] = market.quote_alias


def page_response(
    market: Market, asked: str, name: str, lines: Sequence[bytes], cursor: str | None, headers: Mapping[str, str]
) -> Response:
    """Seed 0's body: the market as it was asked for (and what it is), a list under `name`, and the next page."""
    head: dict[str, Any] = {"exchange": market.exchange, "symbol": asked, "canonical": market.symbol}
    if market.quote_alias:
        head["quote_alias"] = market.quote_alias
    body = (
        _encoder.encode(head)[:-1],
        b',"',
        name.encode(),
        b'":[',
        b",".join(lines),
        b'],"next_cursor":',
        _encoder.encode(cursor),
        b"}",
    )
    return Response(b"".join(body), headers=dict(headers), media_type="application/json")
