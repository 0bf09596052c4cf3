"""What the server needs of a world, simulated or replayed."""

from collections.abc import Mapping
from typing import Any, Protocol

from crosstape.exchange_sim.feed import Feed
from crosstape.exchange_sim.market import Market
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.venues.dialect import Answer, Dialect, Query


class World(Protocol):
    """`markets` by instrument key; `feed` is where an exchange's subscriptions go; `connections` counts
    every socket ever opened, `sessions` holds those open now."""

    sessions: set[Session]
    connections: int
    is_paused: bool

    @property
    def markets(self) -> Mapping[str, Market]: ...

    @property
    def dialects(self) -> Mapping[str, Dialect]: ...

    def feed(self, exchange: str) -> Feed: ...

    def recorded_answer(self, exchange: str, address: str, path: str, query: Query) -> Answer | None:
        """A body recorded for this request, where there is one."""

    def stats(self) -> dict[str, Any]: ...

    async def run(self) -> None:
        """Lets time pass until cancelled."""

    def close(self) -> None:
        """The clean stop."""
