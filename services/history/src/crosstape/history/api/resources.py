"""What the routes work with: one frozen context, built in `main` (or by a test)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from crosstape.common.errors import DatabaseConnectionError
from crosstape.common.runtime.health import Health
from crosstape.history.api.bars import ClosedBars
from crosstape.history.api.markets import Markets
from crosstape.history.api.newest_klines import NewestKlines
from crosstape.history.exchanges import Exchanges
from crosstape.history.store import Store


@dataclass(frozen=True)
class Resources:
    """`reads` answers requests; `exports` (longer deadlines) streams and audits; `probes` asks how the store is;
    `markets` knows every spelling; `exchanges` asks the exchanges themselves; `closed` remembers which minutes are,
    `newest` the candles just told; `has_tables` is set once the database has its tables."""

    reads: Store
    exports: Store
    probes: Store
    markets: Markets
    exchanges: Exchanges
    health: Health
    has_tables: asyncio.Event
    closed: ClosedBars = field(default_factory=ClosedBars)
    newest: NewestKlines = field(default_factory=NewestKlines)


def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    if not found.has_tables.is_set():
        raise DatabaseConnectionError("The database is not ready yet. Try again in a moment.")
    return found


Context = Annotated[Resources, Depends(_resources)]
