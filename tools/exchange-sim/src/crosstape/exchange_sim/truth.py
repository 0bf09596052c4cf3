"""What really happened, beside the exchanges' own protocols: `/_truth/...`, and `/_faults` to change the
weather.

Quantities are those of the exchange's frames: contracts where its contracts are not one base unit
(`/_truth/markets` tells `contract_value`). Times are true ones, without the clock_skew fault.
"""

from typing import Any, cast

import msgspec
from aiohttp import web

from crosstape.exchange_sim.decimal_text import fixed
from crosstape.exchange_sim.faults import Faults, UnknownFault, checked
from crosstape.exchange_sim.instruments import Kind
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.venues.dialect import Dialect
from crosstape.exchange_sim.world import World


def json_response(body: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(body), status=status, content_type="application/json")


class Truth:
    """Handlers of `/_truth` and `/_faults` over one world."""

    def __init__(self, world: World, faults: Faults) -> None:
        self.world = world
        self.faults = faults

    def routes(self) -> list[web.RouteDef]:
        return [
            web.get("/_truth/markets", self.markets),
            web.get("/_truth/stats", self.stats),
            web.post("/_truth/pause", self.pause),
            web.post("/_truth/resume", self.resume),
            web.get("/_truth/{exchange}/{symbol:.+}/trades", self.trades),
            web.get("/_truth/{exchange}/{symbol:.+}/book", self.book),
            web.get("/_faults", self.show_faults),
            web.post("/_faults", self.change_faults),
        ]

    def _market(self, request: web.Request) -> tuple[Dialect, Market]:
        dialect = self.world.dialects.get(request.match_info["exchange"])
        kind = request.query.get("kind", "spot")
        market = dialect.find(cast(Kind, kind), request.match_info["symbol"]) if dialect else None
        if dialect is None or market is None:
            raise web.HTTPNotFound(text="no such market")
        return dialect, market

    async def trades(self, request: web.Request) -> web.Response:
        """Ascending from `from_id` (default: the oldest kept), at most `limit` (default 1000)."""
        dialect, market = self._market(request)
        try:
            first = request.query.get("from_id")
            number = dialect.number_of(market, first) if first else 0
            limit = int(request.query.get("limit", "1000"))
        except ValueError as error:
            raise web.HTTPBadRequest(text=str(error)) from error
        one = market.instrument
        return json_response([
            {"trade_id": dialect.native_id(market, trade.number), "time_ns": trade.time_ns,
             "price": fixed(trade.price, one.price_decimals),
             "quantity": fixed(trade.quantity, one.quantity_decimals), "side": trade.side}
            for trade in market.history.from_number(number, limit)])  # fmt: skip

    async def book(self, request: web.Request) -> web.Response:
        _, market = self._market(request)
        one, engine = market.instrument, market.engine
        depth = int(request.query.get("depth", "1000"))

        def levels(side: list[tuple[int, int]]) -> list[list[str]]:
            return [[fixed(price, one.price_decimals), fixed(quantity, one.quantity_decimals)]
                    for price, quantity in side]  # fmt: skip

        return json_response({"update_id": engine.update_id, "bids": levels(engine.bids.top(depth)),
                              "asks": levels(engine.asks.top(depth))})  # fmt: skip

    async def markets(self, request: web.Request) -> web.Response:
        """`complete_from_id`: from this trade on the list of trades is complete."""
        return json_response([self._summary(market) for market in self.world.markets.values()])

    def _summary(self, market: Market) -> dict[str, Any]:
        one, numbers = market.instrument, market.history.numbers
        dialect = self.world.dialects[one.exchange]
        return {
            "exchange": one.exchange, "kind": one.kind, "symbol": one.symbol, "base": one.base,
            "quote": one.quote, "tick_size": one.tick_size, "lot_size": one.lot_size,
            "contract_value": one.contract_value, "is_active": one.is_active, "trades": len(numbers),
            "complete_from_id": dialect.native_id(market, numbers[0]) if numbers else None,
            "last_id": dialect.native_id(market, numbers[-1]) if numbers else None,
        }  # fmt: skip

    async def stats(self, request: web.Request) -> web.Response:
        return json_response(self.world.stats() | {"faults": dict(self.faults.injected)})

    async def pause(self, request: web.Request) -> web.Response:
        self.world.is_paused = True
        return json_response({"paused": True})

    async def resume(self, request: web.Request) -> web.Response:
        self.world.is_paused = False
        return json_response({"paused": False})

    async def show_faults(self, request: web.Request) -> web.Response:
        return json_response(self.faults.rates)

    async def change_faults(self, request: web.Request) -> web.Response:
        """Replaces the rates: a fault that is not named is off."""
        try:
            self.faults.rates = checked(msgspec.json.decode(await request.read(), type=dict[str, float]))
        except (UnknownFault, msgspec.DecodeError) as error:
            raise web.HTTPUnprocessableEntity(text=str(error)) from error
        return json_response(self.faults.rates)
