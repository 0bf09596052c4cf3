"""What the routes work with: one frozen context, built in `main` (or by a test)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from fastapi import Depends, Request

from crosstape.common.runtime.health import Health
from crosstape.twap_engine.books import Books
from crosstape.twap_engine.clock import Clock
from crosstape.twap_engine.engine import Engine
from crosstape.twap_engine.execution.executor import Executor
from crosstape.twap_engine.markets import Directory
from crosstape.twap_engine.store.database import Database


@dataclass(frozen=True)
class Resources:
    """`engine` works on what is accepted here, `executor` says what it could fill; `books` say where the market is."""

    database: Database
    engine: Engine
    executor: Executor
    books: Books
    directory: Directory
    clock: Clock
    health: Health


def _resources(request: Request) -> Resources:
    found: Resources = request.app.state.resources
    return found


Context = Annotated[Resources, Depends(_resources)]
