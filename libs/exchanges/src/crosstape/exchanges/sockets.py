"""How instruments are spread over sockets and found again in their frames."""

from __future__ import annotations

from collections.abc import Sequence

from crosstape.common.market.instrument import Instrument


def per_socket(instruments: Sequence[Instrument], limit: int) -> list[tuple[Instrument, ...]]:
    """`instruments` in groups of at most `limit`."""
    return [tuple(instruments[i : i + limit]) for i in range(0, len(instruments), limit)]


def symbols_by_spelling(instruments: Sequence[Instrument]) -> dict[str, str]:
    """Canonical symbol by the spelling used on the exchange's socket."""
    return {i.stream_spelling: i.symbol for i in instruments}
