"""The name of a channel."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class ChannelKey:
    """One stream of frames. `name` is the exchange's word (`trade`, `books`), `symbol` its spelling,
    `variant` what else shapes the frames (depth, pace, envelope)."""

    address: str
    name: str
    symbol: str
    variant: str = ""
