"""TWAP orders through REST: small ones with a wide limit, which a right platform fills to the last digit."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from random import Random

from crosstape.client import AsyncClient, CrosstapeError, Order, OrderNotFound, TwapOrder
from tests.soak.judge import Outcome

DURATION, INTERVAL = 20, 4
PAUSE_SECONDS = 5.0
BUY_LIMIT, SELL_LIMIT = Decimal("1000000000"), Decimal("0.00000001")


@dataclass
class Trader:
    """Places orders until cancelled. What was refused, as the service was away, may have been accepted all the same."""

    symbols: Sequence[str]
    seed: int
    placed: dict[str, TwapOrder] = field(default_factory=dict)
    accepted: set[str] = field(default_factory=set)
    refused: list[str] = field(default_factory=list)

    async def run(self, client: AsyncClient) -> None:
        """Place an order every few seconds."""
        random = Random(self.seed)
        for number in itertools.count(1):
            side, limit = random.choice((("buy", BUY_LIMIT), ("sell", SELL_LIMIT)))
            order = TwapOrder(
                order_id=f"soak_{self.seed}_{number}",
                symbol=random.choice(self.symbols),
                side="buy" if side == "buy" else "sell",
                total_quantity=Decimal(random.randint(1, 999)) / 1_000,
                limit_price=limit,
                duration=DURATION,
                interval=INTERVAL,
            )
            self.placed[str(order.order_id)] = order  # before it is sent: an answer may be lost, the order not
            try:
                self.accepted.add((await client.submit_twap(order)).order_id)
            except CrosstapeError as error:
                self.refused.append(f"{order.order_id}: {error}")
            await asyncio.sleep(PAUSE_SECONDS)

    async def outcomes(self, client: AsyncClient) -> tuple[list[Outcome], list[str]]:
        """How every order stands, and the ids of those that were accepted and are gone."""
        found: list[Outcome] = []
        gone: list[str] = []
        for order_id, placed in self.placed.items():
            try:
                found.append(_outcome(placed, await client.order(order_id)))
            except OrderNotFound:
                gone += [order_id] if order_id in self.accepted else []
        return found, gone


def _outcome(placed: TwapOrder, order: Order) -> Outcome:
    return Outcome(
        order.order_id,
        placed.side,
        placed.total_quantity,
        placed.limit_price,
        order.status,
        order.close_reason or "",
        order.filled_quantity or Decimal(0),
        tuple((fill.price, fill.quantity) for fill in order.executions),
    )
