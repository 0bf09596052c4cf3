"""Where a request comes from: the peer of its connection, or whom a trusted proxy names."""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import ip_address, ip_network

from crosstape.api_gateway.headers import Header
from crosstape.common.errors import RateLimited
from crosstape.common.identity.address import network_of, parsed

UNKNOWN = "unknown"
"""Stands for an address that cannot be told, and is never empty: an empty one would mean a service's own request."""


class Addresses:
    """Finds the client's address. `X-Forwarded-For` counts only where a trusted proxy (a network) wrote it."""

    def __init__(self, trusted: Iterable[str]):
        self._trusted = tuple(ip_network(network) for network in trusted)

    def of(self, peer: Sequence[object] | None, headers: Iterable[Header]) -> str:
        """The rightmost address that is no trusted proxy's: further left a client may have written what it likes."""
        address = normal(str(peer[0])) if peer else UNKNOWN
        if not self.is_proxy(address):
            return address
        named = [entry for name, value in headers if name == b"x-forwarded-for" for entry in value.split(b",")]
        for entry in reversed(named):
            hop = normal(_without_port(entry.decode("latin-1").strip()))
            if hop == UNKNOWN:
                break
            address = hop
            if not self.is_proxy(hop):
                break
        return address

    def is_proxy(self, address: str) -> bool:
        """Whether it is a trusted proxy's; `address` is a `normal` one."""
        return address != UNKNOWN and any(ip_address(address) in network for network in self._trusted)


class PerNetwork:
    """How many of something each network has, of at most `limit`; in this process."""

    def __init__(self, limit: int):
        self._limit = limit
        self._open: Counter[str] = Counter()
        self.total = 0

    def has_room(self, network: str) -> bool:
        """Whether the network may have one more."""
        return self._open[network] < self._limit

    def add(self, network: str) -> None:
        """One more."""
        self._open[network] += 1
        self.total += 1

    def remove(self, network: str) -> None:
        """One less."""
        self.total -= 1
        self._open[network] -= 1
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


@functools.lru_cache(4096)
def normal(text: str) -> str:
    """One spelling of an address; UNKNOWN for what is none."""
    address = parsed(text)
    return UNKNOWN if address is None else str(address)


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
