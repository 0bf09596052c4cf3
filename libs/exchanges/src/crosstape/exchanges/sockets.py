"""How instruments are spread over sockets and found again in their frames, and who reads a frame."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Channel, Decode, Event, Frame, MalformedFrame


def per_socket(instruments: Sequence[Instrument], limit: int) -> list[tuple[Instrument, ...]]:
    """`instruments` in groups of at most `limit`."""
    return [tuple(instruments[i : i + limit]) for i in range(0, len(instruments), limit)]


def symbols_by_spelling(instruments: Sequence[Instrument]) -> dict[str, str]:
    """Canonical symbol by the spelling used on the exchange's socket."""
    return {i.stream_spelling: i.symbol for i in instruments}


def reader(channels: frozenset[Channel], decoders: Mapping[Channel, Decode]) -> Decode:
    """What reads a socket of `channels`: the decoder of its one channel, which looks for nothing else, or trades and
    then, where a frame has none, books."""
    if len(channels) == 1:
        (channel,) = channels
        return decoders[channel]
    trades, books = decoders[Channel.TRADES], decoders[Channel.BOOK]

    def decode(frame: Frame, time_received: int) -> Sequence[Event]:
        try:
            return trades(frame, time_received)
        except MalformedFrame as error:
            if error.kind != "schema":
                raise
        return books(frame, time_received)

    return decode
