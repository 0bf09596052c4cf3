"""Which pages may open WebSockets: a browser asks nobody before it does, but says which page it is for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from urllib.parse import urlsplit

from crosstape.common.errors import Forbidden

_DEFAULT_PORTS = {"http": ":80", "https": ":443"}


def check_origin(origins: Sequence[str], host: str, allowed: Collection[str]) -> None:
    """`origins` are a request's Origin headers, `host` its Host: pages of that host may, and of `allowed` origins (`*`
    for all). Programs send no Origin.

    Raises Forbidden.
    """
    if not origins or "*" in allowed:
        return
    if len(origins) > 1 or not (origins[0] in allowed or _is_of(origins[0], host)):
        raise Forbidden("Pages of this origin may not open WebSockets here.")


def _is_of(origin: str, host: str) -> bool:
    """Whether `origin` is a page that `host` itself served; TLS may have ended before us, so both schemes pass."""
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    default = _DEFAULT_PORTS.get(parts.scheme)
    if default is None or not parts.netloc:
        return False
    return parts.netloc.lower().removesuffix(default) == host.lower().removesuffix(default)
