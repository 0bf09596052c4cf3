"""The books over HTTP: what the WebSockets show, once."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

import msgspec
from fastapi import APIRouter, FastAPI, Query, Request, Response

from crosstape.common.errors import DataNotFound, ServiceUnavailable, Unauthenticated
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.runtime.health import Health
from crosstape.common.web.identity import VerifiedBy
from crosstape.common.web.service_app import service_app
from crosstape.stream_hub import examples, messages
from crosstape.stream_hub.book_feed import Target, show, show_together
from crosstape.stream_hub.book_terms import DEFAULT_DEPTH, MOST_DEPTH
from crosstape.stream_hub.book_view import Venue
from crosstape.stream_hub.desk import Desk, Found
from crosstape.stream_hub.directory import EVERY
from crosstape.stream_hub.encoding import NOTATIONS

router = APIRouter(tags=["book"])

_encoder = msgspec.json.Encoder()

Depth = Annotated[int, Query(ge=1, le=MOST_DEPTH, description="levels a side")]
Numbers = Annotated[
    Literal["number", "string"],
    Query(description="prices and quantities as JSON numbers or as strings, exact either way"),
]


@router.get(
    "/api/v1/book/consolidated/{symbol:path}",
    summary="The live book over all exchanges",
    responses=examples.CONSOLIDATED_BOOK,
)
async def consolidated_book(
    request: Request, caller: VerifiedBy, symbol: str, depth: Depth = DEFAULT_DEPTH, numbers: Numbers = "number"
) -> Response:
    desk, notation = _desk(request, caller.principal is not None), NOTATIONS[numbers]
    found = desk.find(EVERY, symbol)
    venues, sides, newest = show_together(_known(desk, found), depth, time.time())
    if sides is None:
        raise _nothing(request, symbol, venues)
    in_it, left_out = messages.venue_bodies(venues)
    return _json(
        {
            "symbol": symbol,
            "canonical": found.symbol,
            **found.aliases,
            **messages.book_body(notation, sides),
            "timestamp": notation.seconds(newest),
            "sequence": sum(venue.sequence for venue in venues),
            "crossed": sides.is_crossed,
            "venues": in_it,
            "stale": left_out,
        }
    )


@router.get("/api/v1/book/{exchange}/{symbol:path}", summary="The live book of one exchange", responses=examples.BOOK)
async def book(
    request: Request,
    caller: VerifiedBy,
    exchange: str,
    symbol: str,
    depth: Depth = DEFAULT_DEPTH,
    numbers: Numbers = "number",
) -> Response:
    desk, notation = _desk(request, caller.principal is not None), NOTATIONS[numbers]
    found = desk.find_one(exchange, symbol)
    shown = [show(target, depth, time.time()) for target in _known(desk, found) if target.market.book.was_heard]
    venue, sides = shown[0] if shown else (None, None)
    if venue is None or sides is None:
        raise _nothing(request, symbol, [venue for venue, _ in shown])
    return _json(
        {
            "exchange": found.exchange,
            "symbol": symbol,
            "canonical": found.symbol,
            **found.aliases,
            **messages.book_body(notation, sides),
            "timestamp": notation.seconds(desk.hub.market(venue.exchange, venue.symbol).book.time),
            "sequence": venue.sequence,
            "age_ms": round(venue.age * 1000),
        }
    )


def _desk(request: Request, is_known: bool) -> Desk:
    """Raises Unauthenticated where anonymous callers may not read."""
    if not (is_known or request.app.state.anonymous_read):
        raise Unauthenticated("This needs a Bearer token: log in (POST /login), or use an API key.")
    desk: Desk = request.app.state.desk
    return desk


def _known(desk: Desk, found: Found) -> list[Target]:
    """The markets of which anything ever came; asking makes none."""
    return [
        Target(market, one.quote_alias)
        for one in found.listed
        if (market := desk.hub.known(one.exchange, one.symbol)) is not None
    ]


def _nothing(request: Request, symbol: str, venues: Sequence[Venue]) -> DataNotFound | ServiceUnavailable:
    if venues:
        said = "The book is stale and being taken anew: try again in a moment."
        return ServiceUnavailable(said, {"reasons": {venue.exchange: venue.reason for venue in venues}})
    if not request.app.state.health.is_ready:
        return ServiceUnavailable("The books are being read, as the service just started: try again in a moment.")
    return DataNotFound(f"No book of {symbol} is recorded.", {"symbol": symbol})


def _json(body: Any) -> Response:
    return Response(_encoder.encode(body), media_type="application/json")


def create_app(desk: Desk, tokens: InternalTokens, health: Health, *, anonymous_read: bool) -> FastAPI:
    """The routes that the hub answers over HTTP."""
    app = service_app("Crosstape stream-hub", [router], health, tokens)
    app.state.desk = desk
    app.state.anonymous_read = anonymous_read
    app.state.health = health
    return app
