"""The `redis://` URL of a setting: checked at the start, and the TLS that it asks for."""

from __future__ import annotations

import ssl
from typing import Annotated

from pydantic import AfterValidator
from redis.asyncio.connection import ConnectionPool, SSLConnection
from redis.exceptions import RedisError


def redis_tls(url: str) -> ssl.SSLContext | None:
    """What a `rediss://` URL's own options (`?ssl_ca_certs=/ca.pem`) ask for, as redis-py reads them; else None.

    Raises ValueError for no `redis://` or `rediss://` URL, or an option that there is not, and OSError for a file that
    cannot be read.
    """
    if not url.startswith(("redis://", "rediss://")):
        raise ValueError("must be a redis:// or a rediss:// URL")
    pool = ConnectionPool.from_url(url)
    try:
        connection = pool.connection_class(**pool.connection_kwargs)
    except (RedisError, TypeError) as error:
        raise ValueError(f"has an option that Redis clients do not know: {error}") from None
    return connection.ssl_context.get() if isinstance(connection, SSLConnection) else None


def _checked(url: str) -> str:
    try:
        redis_tls(url)
    except OSError as error:
        raise ValueError(f"its TLS files cannot be read: {error.strerror or error}") from None
    return url


RedisUrl = Annotated[str, AfterValidator(_checked)]
"""A setting that names a database of Redis."""
