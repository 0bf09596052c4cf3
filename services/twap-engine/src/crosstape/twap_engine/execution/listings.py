"""The exchanges' market lists: what an order may be sent to, in which steps."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from crosstape.common.errors import ExchangeError
from crosstape.common.waiting import pause, unless_stopped
from crosstape.twap_engine.execution.ccxt_clients import CcxtClient
from crosstape.twap_engine.order import ParentOrder

log = structlog.get_logger(__name__)

RETRY_SECONDS = 1.0
"""So soon an exchange that did not tell its markets is asked again."""
RENEWAL_SECONDS = 3_600.0
"""So often for what changed of them: steps of price and quantity, and markets that are new."""
RENEWAL_RETRY_SECONDS = 60.0
"""So soon again when it did not tell them this time."""


class Listings:
    """The exchanges' market lists, without which nothing is sent: read at the start, and anew every hour."""

    def __init__(self, clients: Mapping[str, CcxtClient]):
        self.clients = clients
        self._away: set[str] = set()

    def ready(self, order: ParentOrder) -> set[str] | None:
        """Those of the order's exchanges that have told theirs; None while nothing can be sent. An exchange that has
        not answered yet is waited for; one that failed is left out until it has."""
        clients = {one.exchange: client for one in order.markets if (client := self.clients.get(one.exchange))}
        ready = {exchange for exchange, client in clients.items() if client.is_ready}
        is_one_waited_for = bool(clients.keys() - ready - self._away)
        return None if is_one_waited_for or (clients and not ready) else ready

    async def run(self, stop: asyncio.Event) -> None:
        """Read them until `stop`."""
        async with asyncio.TaskGroup() as group:
            for client in self.clients.values():
                group.create_task(self._keep(client, stop))

    async def _keep(self, client: CcxtClient, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await unless_stopped(stop, client.load())
            except ExchangeError as error:
                if client.exchange not in self._away:
                    log.warning("exchange_away", exchange=client.exchange, error=error.message)
                self._away.add(client.exchange)
                await pause(stop, RENEWAL_RETRY_SECONDS if client.is_ready else RETRY_SECONDS)
            else:
                self._away.discard(client.exchange)
                await pause(stop, RENEWAL_SECONDS)
