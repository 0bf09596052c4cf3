"""For whom a request of ours is made. Pure."""

from __future__ import annotations

from collections.abc import Sequence


def made_for(named: Sequence[str], peer: str | None) -> dict[str, str]:
    """The headers that say so: whom the proxies before us `named` (X-Forwarded-For, as it came), and the `peer` whose
    connection ours is. Limits and logs then count each visitor apart, where the platform trusts our address."""
    hops = [*named, *([peer] if peer else [])]
    return {"X-Forwarded-For": ", ".join(hops)} if hops else {}
