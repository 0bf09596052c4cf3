"""How instruments are spread over sockets and found again in their frames, and who reads a frame."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

import msgspec

from crosstape.common.market.instrument import Instrument
from crosstape.exchanges.dialect import Channel, Decode, Event, FeedError, Frame, MalformedFrame, MarketRefused

_WORD = re.compile(r"[\w/-]+")


def per_socket(instruments: Sequence[Instrument], limit: int) -> list[tuple[Instrument, ...]]:
    """`instruments` in groups of at most `limit`."""
    return [tuple(instruments[i : i + limit]) for i in range(0, len(instruments), limit)]


def symbols_by_spelling(instruments: Sequence[Instrument]) -> dict[str, str]:
    """Canonical symbol by the spelling used on the exchange's socket."""
    return {i.stream_spelling: i.symbol for i in instruments}


def one_by_one(requests: Iterable[object]) -> tuple[bytes, ...]:
    """A message for each of `requests`, of one market each: most exchanges refuse a request whole for one of them."""
    return tuple(map(msgspec.json.encode, requests))


def refusal(said: str, symbols: Mapping[str, str]) -> MarketRefused | FeedError:
    """What a refused request ends: the market that `said` names by its spelling in `symbols`, or else the stream."""
    named = {symbols[word] for word in _WORD.findall(said) if word in symbols}
    return MarketRefused(said, named.pop()) if len(named) == 1 else FeedError(said)


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
