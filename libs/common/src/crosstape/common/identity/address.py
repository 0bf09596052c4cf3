"""Internet addresses, and what of them stands for one customer. Pure."""

from __future__ import annotations

import functools
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network

_LONGEST = 64


def parsed(text: str) -> IPv4Address | IPv6Address | None:
    """Without its zone; an IPv4 address inside an IPv6 one is that. None for what is no address."""
    try:
        address = ip_address(text.partition("%")[0]) if len(text) <= _LONGEST else None
    except ValueError:
        return None
    if isinstance(address, IPv6Address):
        return address.ipv4_mapped or address
    return address


@functools.lru_cache(4096)
def network_of(address: str) -> str:
    """What limits count by: an IPv4 address, or the /64 that an IPv6 client has to itself. What is no address stands
    for itself."""
    found = parsed(address)
    if isinstance(found, IPv6Address):
        return str(ip_network((int(found) >> 64 << 64, 64)))
    return address if found is None else str(found)
