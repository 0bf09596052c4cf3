"""What there is: whether the platform is well, which exchanges and symbols it knows."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from msgspec import Struct

from crosstape.client.calls import Call, get, path


class Health(Struct, frozen=True):
    """The API answers."""

    status: str
    version: str
    timestamp: dt.datetime


class Check(Struct, frozen=True):
    """One part of the platform; feeds have `last_event_age_ms`, the others `response_time_ms`."""

    status: Literal["up", "down"]
    response_time_ms: float | None = None
    last_event_age_ms: float | None = None


class Readiness(Struct, frozen=True):
    """How every part is; `unhealthy` when no data can be answered, `degraded` when some part is down."""

    status: Literal["healthy", "degraded", "unhealthy"]
    version: str
    timestamp: dt.datetime
    checks: dict[str, Check]


class Exchanges(Struct, frozen=True):
    """The ids of the exchanges."""

    exchanges: tuple[str, ...]


class Symbols(Struct, frozen=True):
    """The symbols of one exchange."""

    symbols: tuple[str, ...]


def health() -> Call[Health]:
    """Whether the API answers."""
    return get("/health", Health)


def readiness() -> Call[Readiness]:
    """How every part of the platform is."""
    return get("/health/ready", Readiness)


def exchanges() -> Call[Exchanges]:
    """The exchanges the platform answers for."""
    return get("/exchanges", Exchanges)


def symbols(exchange: str, *, spelling: Literal["native", "canonical"] = "native") -> Call[Symbols]:
    """The symbols of `exchange`, as the exchange or as the platform writes them."""
    return get(path(exchange, "symbols"), Symbols, format=spelling)
