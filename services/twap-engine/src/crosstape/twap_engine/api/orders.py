"""The orders' routes: seed 1's, for their owners."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Path, Query, Request, Response

from crosstape.common.errors import PlatformError, ServiceUnavailable, SymbolNotFound
from crosstape.common.identity.principal import Principal, Scope
from crosstape.common.symbols import LONGEST
from crosstape.common.web.identity import VerifiedBy
from crosstape.twap_engine.api import examples
from crosstape.twap_engine.api.answers import NOTATIONS, detail_response, json_response, receipt_body, summary_body
from crosstape.twap_engine.api.cursor import encode_cursor, read_cursor
from crosstape.twap_engine.api.requests import ORDER_ID, OrderRequest, read_requests, warn
from crosstape.twap_engine.api.resources import Context, Resources
from crosstape.twap_engine.order import ParentOrder, Progress, Status
from crosstape.twap_engine.store.accept import MOST_OPEN_ORDERS, Accepted, NewOrder, accept, repeats
from crosstape.twap_engine.store.cancel import cancel
from crosstape.twap_engine.store.read import (
    MOST_EXECUTIONS,
    Filters,
    Meant,
    Reader,
    list_orders,
    not_found,
    read_number,
    read_order,
)

router = APIRouter(tags=["orders"])

Username = Annotated[
    str | None,
    Query(
        description="only of this user, in any spelling that logs in (`Alice` is `alice`); an admin's, whose users may "
        "use the same order_id",
        max_length=64,
    ),
]

OrderId = Annotated[str, Path(description="as it was accepted", examples=["twap_001"])]

Numbers = Annotated[
    Literal["number", "string"], Query(description="decimals as JSON numbers or as strings, exact either way")
]


@router.post(
    "/orders/twap",
    summary="Accept TWAP orders: one or a list, all or none",
    description=f"An account may have {MOST_OPEN_ORDERS} orders open at once: what would open more is refused with "
    "`CONFLICT`, and nothing of it is accepted.",
    responses=examples.ACCEPTED,
    openapi_extra=examples.REQUEST_BODY,
)
async def accept_orders(context: Context, caller: VerifiedBy, request: Request) -> Response:
    principal = caller.require(Scope.ORDERS_WRITE)
    requests, is_list = read_requests(await request.body())
    now = context.clock.utc()
    before: dict[str, Accepted] = {}
    try:
        new = [_new_order(context, principal, one, now) for one in requests]
    except PlatformError:
        # What was accepted is answered again, even where it would not be accepted any more.
        before = await repeats(
            context.database, principal.user_id, {one.order_id or "": one.canonical for one in requests}
        )
        if not before:
            raise
        new = [_new_order(context, principal, one, now) for one in requests if one.order_id not in before]
    engine = context.engine
    accepted = await accept(context.database, new, engine.replica, engine.doubt) if new else []
    for one in accepted:
        if one.token is not None:
            engine.hold(one.order, one.token, one.progress)
    by_id = before | {one.order.order_id: one for one in accepted}
    return json_response(receipt_body([by_id[one.order_id or ""] for one in requests], is_list=is_list))


def _new_order(context: Resources, principal: Principal, request: OrderRequest, now: int) -> NewOrder:
    place = context.directory.place(request.symbol, request.exchange or "")
    context.executor.check(place.markets)
    mid = context.books.mid(place.markets, context.clock.steady())
    order = ParentOrder(
        id=0,
        user_id=principal.user_id,
        username=principal.username,
        order_id=request.order_id or "",
        symbol=request.symbol,
        exchange=request.exchange or "",
        markets=place.markets,
        quote_aliases=place.quote_aliases,
        side=request.side,
        total_quantity=request.total_quantity,
        limit_price=request.limit_price,
        duration=request.duration,
        interval=request.interval,
        lot=place.lot,
        start=now,
    )
    warnings = warn(request, place, mid)
    return NewOrder(order, Progress(arrival_price=mid), request.canonical, place.canonical, warnings)


@router.get("/orders", summary="The caller's orders, the newest first", responses=examples.LIST)
async def orders(
    context: Context,
    caller: VerifiedBy,
    order_id: Annotated[str | None, Query(description="only this one", pattern=f"^{ORDER_ID.pattern}$")] = None,
    username: Username = None,
    status: Annotated[Status | None, Query(description="only those that are so")] = None,
    symbol: Annotated[
        str | None, Query(description="only those of this symbol, in any spelling", max_length=LONGEST)
    ] = None,
    limit: Annotated[int, Query(ge=1, le=1_000, description="orders of a page, 1 to 1000")] = 100,
    cursor: Annotated[str | None, Query(description="`X-Next-Cursor` of the page before", max_length=64)] = None,
) -> Response:
    reader = _reader(caller.require(Scope.ORDERS_READ))
    meant, unknown = _meant(context, symbol)
    filters = Filters(
        order_id=order_id,
        username=username,
        status=status,
        symbol=meant,
        before=None if cursor is None else read_cursor(cursor),
    )
    rows = await list_orders(context.database, reader, filters, limit + 1)
    if unknown is not None and not rows and cursor is None:
        raise unknown
    page = rows[:limit]
    headers = {"X-Next-Cursor": encode_cursor(page[-1].id)} if len(rows) > limit else None
    return json_response([summary_body(row) for row in page], headers)


def _meant(context: Resources, symbol: str | None) -> tuple[Meant | None, SymbolNotFound | None]:
    """What is meant by `symbol`, and why that is not known. Then orders are found by the spelling that they were made
    with: their market may be listed no more."""
    if symbol is None:
        return None, None
    text = symbol.upper()
    try:
        place = context.directory.place(symbol)
    except ServiceUnavailable:
        return Meant(text, text), None
    except SymbolNotFound as error:
        return Meant(text, text), error
    return Meant(text, place.canonical, tuple({market.symbol for market in place.markets})), None


@router.get(
    "/orders/{order_id}",
    summary="One order, its executions and what it cost",
    description=f"Of more than {MOST_EXECUTIONS} executions the newest are answered, and `executions_left_out` says "
    "how many older ones there are; all of them count in the sums.",
    responses=examples.DETAIL,
)
async def order(
    context: Context, caller: VerifiedBy, order_id: OrderId, username: Username = None, numbers: Numbers = "number"
) -> Response:
    reader = _reader(caller.require(Scope.ORDERS_READ))
    detail = await read_order(context.database, reader, _checked(order_id), username)
    return await detail_response(detail, context.clock.utc(), NOTATIONS[numbers])


@router.delete("/orders/{order_id}", summary="Cancel an open order; what is filled stays", responses=examples.CANCELLED)
async def cancel_order(
    context: Context, caller: VerifiedBy, order_id: OrderId, username: Username = None, numbers: Numbers = "number"
) -> Response:
    reader = _reader(caller.require(Scope.ORDERS_WRITE))
    number = await cancel(context.database, reader, _checked(order_id), context.clock, username)
    context.engine.drop(number)
    detail = await read_number(context.database, number)
    return await detail_response(detail, context.clock.utc(), NOTATIONS[numbers])


def _reader(principal: Principal) -> Reader:
    return Reader(principal.user_id, sees_all=Scope.ADMIN in principal.scopes)


def _checked(order_id: str) -> str:
    """A name that no order can have is nobody's."""
    if not ORDER_ID.fullmatch(order_id):
        raise not_found(order_id)
    return order_id
