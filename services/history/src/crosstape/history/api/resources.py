"""What the routes work with: one frozen context, built in `main` (or by a test)."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated

from fastapi import Depends, Request

from crosstape.common.runtime.health import Health
from crosstape.history.api.bars import ClosedBars
from crosstape.history.api.markets import Markets
from crosstape.history.exchanges import Exchanges
from crosstape.history.store import Store


@dataclass(frozen=True)
class Resources:
    """`reads` answers requests; `exports` (longer deadlines) streams and audits; `probes` asks how the store is;
    `markets` knows every spelling; `exchanges` asks the exchanges themselves; `closed` remembers which minutes are."""

    reads: Store
    exports: Store
    probes: Store
    markets: Markets
    exchanges: Exchanges
    health: Health
    closed: ClosedBars = field(default_factory=ClosedBars)


def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    return found


Context = Annotated[Resources, Depends(_resources)]
