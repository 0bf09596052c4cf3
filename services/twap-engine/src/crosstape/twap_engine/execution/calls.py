"""What exchanges are asked. It goes on by itself: who asks waits a moment only, and comes again for the answer.

So an exchange that hangs keeps no slice of another one waiting. There is no deadline here: ccxt has one of ten
seconds, and what is given up sooner still counts in its queue for the exchange's rate limit, so that asking again would
only make that queue longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient, Executed, OrderRefused
from crosstape.twap_engine.execution.executor import Held
from crosstape.twap_engine.order import Benchmark, ParentOrder, Shortfall
from crosstape.twap_engine.store.sent import Sent

log = structlog.get_logger(__name__)

PATIENCE_SECONDS = 0.2
"""So long all slices that are due wait for an answer that one of them asked for."""
RETRY_SECONDS = 1.0
"""So soon an exchange that did not tell its markets is asked again."""

Answer = Executed | Shortfall | ExchangeError
"""What became of a slice: an error where that is not known."""


@dataclass(slots=True)
class Way:
    """What this process knows of a slice that is on its way: what the market did before it while `held` held its order,
    and since when its exchange does not know it. `wanted` is when we last wanted to know what became of it, `asked`
    when we last asked (steady, ns)."""

    one: Sent
    wanted: int = 0
    asked: int = 0
    held: Held | None = None
    benchmark: Benchmark = field(default_factory=Benchmark)
    unknown_since: int | None = None
    call: asyncio.Task[Answer] | None = None

    async def ask(self, call: Coroutine[Any, Any, Answer], now: int) -> None:
        """Ask its exchange, and wait a moment."""
        self.asked = now
        self.call = asyncio.create_task(call)
        await asyncio.wait({self.call}, timeout=PATIENCE_SECONDS)

    @property
    def answer(self) -> Answer | None:
        """None while there is none."""
        return self.call.result() if self.call is not None and self.call.done() else None


async def place(client: CcxtClient, order: ParentOrder, one: Sent) -> Answer:
    """Send a slice and ask what became of it."""
    try:
        await client.place(one.symbol, order.side, one.quantity, one.limit_price, one.client_order_id)
    except OrderRefused as error:
        log.warning("slice_refused", **place_of(one), error=error.message)
        return Shortfall.REFUSED
    except ExchangeError as error:
        return error
    return await find(client, one)


async def find(client: CcxtClient, one: Sent) -> Answer:
    """Ask what became of a slice."""
    try:
        return await client.find(one.symbol, one.client_order_id)
    except ExchangeError as error:
        return error


def place_of(one: Sent) -> dict[str, Any]:
    """What the log calls a slice."""
    return {"exchange": one.exchange, "symbol": one.symbol, "order": one.parent, "slice": one.number}


class Listings:
    """The exchanges' market lists, without which nothing is sent."""

    def __init__(self, clients: Mapping[str, CcxtClient]):
        self._clients = clients
        self._asked: dict[str, asyncio.Task[None]] = {}
        self._away: set[str] = set()

    async def ready(self, order: ParentOrder) -> set[str] | None:
        """Those of the order's exchanges that have told theirs; None while nothing can be sent. An exchange that is
        asked for the first time is waited for; one that failed is left out until it has answered."""
        clients = {one.exchange: client for one in order.markets if (client := self._clients.get(one.exchange))}
        missing = {exchange for exchange, client in clients.items() if not client.is_ready}
        for exchange in missing - self._asked.keys():
            self._asked[exchange] = asyncio.create_task(self._ask(clients[exchange]))
        if first := [self._asked[exchange] for exchange in missing - self._away]:
            await asyncio.wait(first, timeout=PATIENCE_SECONDS)
        for asked in [self._asked[exchange] for exchange in missing]:
            if asked.done():
                asked.result()  # raises what nobody expected
        ready = {exchange for exchange, client in clients.items() if client.is_ready}
        is_one_waited_for = bool(clients.keys() - ready - self._away)
        return None if is_one_waited_for or (clients and not ready) else ready

    async def _ask(self, client: CcxtClient) -> None:
        """Ask until it answers."""
        while True:
            try:
                await client.prepare()
            except ExchangeError as error:
                if client.exchange not in self._away:
                    log.warning("exchange_away", exchange=client.exchange, error=error.message)
                self._away.add(client.exchange)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                self._away.discard(client.exchange)
                return
