"""Where a request comes from: the peer of its connection, or whom a trusted proxy names."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network

from crosstape.common.identity.address import parsed

UNKNOWN = "unknown"
"""Stands for an address that cannot be told, and is never empty: an empty one would mean a service's own request."""

_REMEMBERED = 4096
Network = IPv4Network | IPv6Network


class Addresses:
    """Finds the client's address. `X-Forwarded-For` counts only where a trusted proxy (a network) wrote it."""

    def __init__(self, trusted: Iterable[str]):
        networks = tuple(ip_network(network) for network in trusted)
        self.is_proxy = functools.lru_cache(_REMEMBERED)(functools.partial(_is_in, networks))
        """Whether an address, a `normal` one, is a trusted proxy's."""

    def of(self, peer: Sequence[object] | None, forwarded: Iterable[bytes]) -> str:
        """The rightmost address that is no trusted proxy's: further left a client may have written what it likes.

        `forwarded`: the values of `X-Forwarded-For`.
        """
        address = normal(str(peer[0])) if peer else UNKNOWN
        if not self.is_proxy(address):
            return address
        for entry in reversed(b",".join(forwarded).split(b",")):
            hop = normal(_without_port(entry.decode("latin-1").strip()))
            if hop == UNKNOWN:
                break
            address = hop
            if not self.is_proxy(hop):
                break
        return address


@functools.lru_cache(_REMEMBERED)
def normal(text: str) -> str:
    """One spelling of an address; UNKNOWN for what is none."""
    address = parsed(text)
    return UNKNOWN if address is None else str(address)


def _is_in(networks: Iterable[Network], address: str) -> bool:
    return address != UNKNOWN and any(ip_address(address) in network for network in networks)


def _without_port(entry: str) -> str:
    if entry.startswith("["):
        return entry[1:].partition("]")[0]
    return entry.partition(":")[0] if entry.count(":") == 1 else entry
