"""The schemas of the books over HTTP, for the API's document."""

from __future__ import annotations

from pydantic import Field

from crosstape.common.web.described import Absent, Count, Described, Number


class _Book(Described):
    symbol: str = Field(description="as it was asked for")
    canonical: str
    checksum: Count = Field(description="CRC-32 of the ten best levels a side")
    timestamp: float = Field(description="Unix seconds with up to six places")
    sequence: Count = Field(description="grows with every state")


class Book(_Book):
    """The newest state of one exchange's book."""

    exchange: str
    quote_alias: str | Absent = Field(None, description="the quote that stands in for the one asked for")
    bids: list[tuple[Number, Number]] = Field(description="[price, quantity], best first")
    asks: list[tuple[Number, Number]] = Field(description="[price, quantity], best first")
    age_ms: Count


class Venue(Described):
    """An exchange that is in a consolidated book."""

    exchange: str
    symbol: str
    quote_alias: str | Absent = None
    age_ms: Count
    sequence: Count


class StaleVenue(Described):
    """An exchange that is left out of a consolidated book, and why."""

    exchange: str
    symbol: str
    reason: str
    age_ms: Count


class ConsolidatedBook(_Book):
    """The newest state of all exchanges' books together."""

    quote_aliases: dict[str, str] | Absent = Field(
        None, description="by exchange, the quote that stands in for the one asked for"
    )
    bids: list[tuple[Number, Number, str]] = Field(description="[price, quantity, exchange], best first")
    asks: list[tuple[Number, Number, str]] = Field(description="[price, quantity, exchange], best first")
    crossed: bool = Field(description="whether a bid meets another exchange's ask")
    venues: list[Venue]
    stale: list[StaleVenue]
