"""Which exchanges and symbols there are."""

from __future__ import annotations

import enum
from typing import Annotated

from fastapi import APIRouter, Query, Response

from crosstape.history.api import examples
from crosstape.history.api.answers import json_response
from crosstape.history.api.resources import Context

router = APIRouter(tags=["directory"])


class Spelling(enum.StrEnum):
    """How symbols are written: as the exchange does, or as the platform does everywhere."""

    NATIVE = "native"
    CANONICAL = "canonical"


@router.get("/exchanges", summary="The exchanges the platform answers for", responses=examples.EXCHANGES)
async def exchanges(context: Context) -> Response:
    return json_response({"exchanges": context.markets.exchanges})


@router.get("/{exchange}/symbols", summary="The symbols of an exchange", responses=examples.SYMBOLS)
async def symbols(
    context: Context,
    exchange: str,
    spelling: Annotated[Spelling, Query(alias="format", description="spelling of the symbols")] = Spelling.NATIVE,
) -> Response:
    instruments = await context.markets.instruments(exchange)
    if spelling is Spelling.CANONICAL:
        return json_response({"symbols": sorted({instrument.symbol for instrument in instruments})})
    return json_response({"symbols": list(dict.fromkeys(instrument.exchange_symbol for instrument in instruments))})
