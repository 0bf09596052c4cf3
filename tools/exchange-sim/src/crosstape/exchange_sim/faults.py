"""Faults on demand, deterministic by seed: they change what is sent, never what is true.

A frame meets at most one fault, drawn from its connection's own random stream (seed, address, how many
connections that address has had), so the n-th frame of the n-th connection always meets the same one.
Requests likewise, per exchange. `clock_skew` (ms) is a shift of the exchange's clock, not a probability.
"""

from collections import Counter
from collections.abc import Mapping
from random import Random
from typing import Literal

FrameFault = Literal["drop", "skip", "duplicate", "reorder", "delay", "corrupt", "checksum", "stall"]

FRAME_FAULTS: tuple[FrameFault, ...] = (
    "drop", "skip", "duplicate", "reorder", "delay", "corrupt", "checksum", "stall",
)  # fmt: skip
REQUEST_FAULTS = ("http429", "http5xx")
KINDS = (*FRAME_FAULTS, *REQUEST_FAULTS, "clock_skew")
DELAY_NS = 400_000_000


class UnknownFault(ValueError):
    """A fault of this name does not exist, or its value is outside its range."""


def checked(rates: Mapping[str, float]) -> dict[str, float]:
    for kind, rate in rates.items():
        if kind not in KINDS:
            raise UnknownFault(f"unknown fault {kind!r}; known: {', '.join(KINDS)}")
        if kind != "clock_skew" and not 0 <= rate <= 1:
            raise UnknownFault(f"{kind}={rate!r} is not a probability")
    if sum(rates.get(kind, 0.0) for kind in FRAME_FAULTS) > 1:
        raise UnknownFault("the frame faults' probabilities exceed 1 together")
    return dict(rates)


def parse_rates(text: str) -> dict[str, float]:
    """`drop=0.001,clock_skew=250` as a mapping."""
    pairs = (part.partition("=") for part in text.split(",") if part)
    try:
        return checked({name.strip(): float(value) for name, _, value in pairs})
    except ValueError as error:
        raise UnknownFault(str(error)) from error


class Faults:
    """The rates in force and what happened: `injected[kind]` counts faults that reached the wire."""

    def __init__(self, seed: int, rates: Mapping[str, float]) -> None:
        self.seed = seed
        self.rates = checked(rates)
        self.injected: Counter[str] = Counter()
        self._connections: Counter[str] = Counter()
        self._requests: dict[str, Random] = {}

    @property
    def clock_skew_ns(self) -> int:
        return int(self.rates.get("clock_skew", 0.0) * 1_000_000)

    def connection(self, address: str) -> Random:
        """The random stream of the next connection to `address`."""
        ordinal = self._connections[address]
        self._connections[address] += 1
        return Random(f"{self.seed}/{address}/{ordinal}")

    def frame_fault(self, stream: Random) -> FrameFault | None:
        return frame_fault(self.rates, stream.random())

    def request_status(self, exchange: str) -> int | None:
        """429 or 503 for a request that is refused, None for one that is answered."""
        stream = self._requests.setdefault(exchange, Random(f"{self.seed}/{exchange}/requests"))
        drawn = stream.random()
        for kind, status in (("http429", 429), ("http5xx", 503)):
            drawn -= self.rates.get(kind, 0.0)
            if drawn < 0:
                self.injected[kind] += 1
                return status
        return None


def frame_fault(rates: Mapping[str, float], drawn: float) -> FrameFault | None:
    """Which fault a uniform draw in [0, 1) means: the kinds' probabilities laid end to end."""
    for kind in FRAME_FAULTS:
        drawn -= rates.get(kind, 0.0)
        if drawn < 0:
            return kind
    return None


def corrupted(payload: bytes, stream: Random) -> bytes:
    """Cut short, or with garbage in the middle; still text, never the original."""
    cut = stream.randrange(1, max(2, len(payload)))
    if stream.random() < 0.5:
        return payload[:cut]
    return payload[: cut // 2] + b"\x00#?{" + payload[cut // 2 :]
