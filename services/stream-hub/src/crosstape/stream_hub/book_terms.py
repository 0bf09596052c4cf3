"""Terms of a subscription to a book: how deep, how often, and how much of that one socket may have. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from msgspec import Struct

from crosstape.common.errors import Conflict
from crosstape.stream_hub.protocol import whole_of

DEFAULT_DEPTH = 25
MOST_DEPTH = 1_000
DEFAULT_INTERVAL_MS = 100
LEAST_INTERVAL_MS = 50
MOST_INTERVAL_MS = 60_000
MOST_LEVELS = 200_000
"""Levels a side that one socket's books may have in a second: to write them takes the process half of that second."""


class BookTerms(Struct, frozen=True):
    """The best `depth` levels a side, at most every `interval_ms`, of the books of so many `exchanges` as one."""

    depth: int
    interval_ms: int
    exchanges: int

    @property
    def levels(self) -> float:
        """Levels a side that are read for it in a second, at most."""
        return self.depth * self.exchanges * 1000 / self.interval_ms


def read_terms(message: Mapping[str, Any], exchanges: int) -> BookTerms:
    """What a client asks for. Raises ValidationFailed."""
    return BookTerms(
        whole_of(message, "depth", DEFAULT_DEPTH, 1, MOST_DEPTH),
        whole_of(message, "interval_ms", DEFAULT_INTERVAL_MS, LEAST_INTERVAL_MS, MOST_INTERVAL_MS),
        exchanges,
    )


def check_levels(asked: BookTerms, others: Iterable[BookTerms]) -> None:
    """Raises Conflict if a socket would have more levels a second with `asked` than it may, beside its `others`."""
    if asked.levels + sum(one.levels for one in others) > MOST_LEVELS:
        raise Conflict(
            f"The books of a socket may have {MOST_LEVELS} levels a second, the sum of depth / interval, that of a "
            "consolidated book once for each exchange: ask for fewer or less often, or unsubscribe from one first.",
            {"most_levels_per_second": MOST_LEVELS},
        )
