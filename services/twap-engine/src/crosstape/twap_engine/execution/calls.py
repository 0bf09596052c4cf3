"""What exchanges are asked. It goes on by itself: who asks waits a moment only, and comes again for the answer.

So an exchange that hangs keeps no slice of another one waiting. There is no deadline here: ccxt has one of ten
seconds, and what is given up sooner still counts in its queue for the exchange's rate limit, so that asking again would
only make that queue longer.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from dataclasses import dataclass, field
from decimal import Decimal
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

Answer = Executed | Shortfall | ExchangeError
"""What became of a slice: an error where that is not known."""


@dataclass(slots=True)
class Way:
    """What this process knows of a slice that is on its way. Times are steady, in ns."""

    one: Sent
    wanted: int = 0
    """When somebody last wanted to know what became of it."""
    asked: int = 0
    """When its exchange was last asked."""
    held: Held | None = None
    """How its order was held when it was sent; None when another process sent it."""
    benchmark: Benchmark = field(default_factory=Benchmark)
    """What the market did before it while `held` held its order."""
    fee: Decimal = Decimal()
    """What the exchange told of its fee when it took it: Binance tells it then, and never again."""
    unknown_since: int | None = None
    """Since when its exchange does not know it."""
    call: asyncio.Task[Answer] | None = None
    trouble: str = ""
    """What was last said of why it is not known what became of it."""

    async def ask(self, call: Coroutine[Any, Any, Answer], now: int) -> None:
        """Ask its exchange, and wait a moment."""
        self.asked = now
        self.call = asyncio.create_task(call)
        await asyncio.wait({self.call}, timeout=PATIENCE_SECONDS)

    @property
    def answer(self) -> Answer | None:
        """None while there is none."""
        return self.call.result() if self.call is not None and self.call.done() else None

    def warn(self, event: str, trouble: str) -> None:
        """Say why it is not known, once until there is another reason."""
        if trouble != self.trouble:
            log.warning(event, **place_of(self.one), error=trouble)
        self.trouble = trouble


async def place(client: CcxtClient, order: ParentOrder, way: Way) -> Answer:
    """Send a slice and ask what became of it."""
    one = way.one
    try:
        way.fee = await client.place(one.symbol, order.side, one.quantity, one.limit_price, one.client_order_id)
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
