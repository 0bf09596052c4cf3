"""How many of something each network has: connections of clients, WebSockets, long answers, bytes of bodies."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from crosstape.api_gateway.address import UNKNOWN, Addresses, normal
from crosstape.common.errors import RateLimited
from crosstape.common.identity.address import network_of


class PerNetwork:
    """How many of something each network has, of at most `limit`; in this process."""

    def __init__(self, limit: int):
        self._limit = limit
        self._open: Counter[str] = Counter()
        self.total = 0

    def has_room(self, network: str, count: int = 1) -> bool:
        """Whether the network may have `count` more."""
        return self._open[network] + count <= self._limit

    def add(self, network: str, count: int = 1) -> None:
        """`count` more."""
        self._open[network] += count
        self.total += count

    def remove(self, network: str, count: int = 1) -> None:
        """`count` less."""
        self.total -= count
        self._open[network] -= count
        if not self._open[network]:
            del self._open[network]


class Guests:
    """Connections of clients, at most `limit` of a network. A trusted proxy, which connects for many, has as many as it
    needs."""

    def __init__(self, addresses: Addresses, limit: int):
        self._addresses = addresses
        self._count = PerNetwork(limit)

    def enter(self, peer: Sequence[object] | None) -> str | None:
        """What the connection of `peer` counts for; `leave` it. Raises RateLimited."""
        address = normal(str(peer[0])) if peer else UNKNOWN
        if self._addresses.is_proxy(address):
            return None
        network = network_of(address)
        if not self._count.has_room(network):
            raise RateLimited("There are too many connections from your address: close one.", 5)
        self._count.add(network)
        return network

    def leave(self, network: str | None) -> None:
        """It is over."""
        if network:
            self._count.remove(network)
