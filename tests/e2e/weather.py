"""What one seed of the fault test does: which markets, which faults on the wire, what is killed and when."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random

EXCHANGES = ("binance", "kraken", "coinbasepro", "okx", "bybit")
BASES = [
    "BTC",
    "ETH",
    "SOL",
    "XRP",
    "ADA",
    "DOGE",
    "DOT",
    "LTC",
    "LINK",
    "AVAX",
    "BCH",
    "UNI",
    "ATOM",
    "ETC",
    "XLM",
    "FIL",
    "NEAR",
    "APT",
    "ARB",
    "OP",
]
"""What trades fast on every simulated exchange."""


@dataclass(frozen=True)
class Weather:
    """`kills` are (seconds after the start, what): `ingestor`, `history` or `broker`."""

    seed: int
    exchanges: tuple[str, str]
    bases: dict[str, list[str]]
    faults: str
    kills: tuple[tuple[float, str], ...]
    is_redundant: bool


def weather(seed: int, *, seconds: float) -> Weather:
    """The weather of `seed`. No two seeds below 25 share a market, so one store can hold all of them."""
    random = Random(seed)
    pair = (EXCHANGES[seed % 5], EXCHANGES[(seed + 2) % 5])
    faults = {
        "drop": random.choice([0.0, 0.002, 0.01]),
        "skip": random.choice([0.0, 0.01, 0.05]),
        "duplicate": random.choice([0.0, 0.02]),
        "reorder": random.choice([0.0, 0.02]),
        "delay": random.choice([0.0, 0.01]),
        "corrupt": random.choice([0.0, 0.01]),
        "checksum": random.choice([0.0, 0.01]),
        "stall": random.choice([0.0, 0.001]),
        "http429": random.choice([0.0, 0.05]),
        "http5xx": random.choice([0.0, 0.05]),
    }
    victims = random.sample(["ingestor", "history", "broker"], k=random.choice([0, 1, 1, 2]))
    return Weather(
        seed=seed,
        exchanges=pair,
        bases={exchange: _bases(exchange, seed) for exchange in pair},
        faults=",".join(f"{kind}={rate}" for kind, rate in faults.items() if rate),
        kills=tuple(sorted((random.uniform(0.5, seconds - 0.5), victim) for victim in victims)),
        is_redundant=random.random() < 0.2,
    )


def _bases(exchange: str, seed: int) -> list[str]:
    """Two bases that no earlier seed used on this exchange."""
    turn = sum(exchange in (EXCHANGES[k % 5], EXCHANGES[(k + 2) % 5]) for k in range(seed))
    return [BASES[(2 * turn) % 20], BASES[(2 * turn + 1) % 20]]
