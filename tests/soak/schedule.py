"""What is done to the platform, and when, by seed: pure."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

SOONEST, LATEST = 10.0, 30.0
OTHERS = ("history", "stream-hub", "twap-engine", "gateway", "auth", "valkey", "kafka")
INGESTOR_SHARE = 0.55
ROUGH_SHARE = 0.95
"""The share of the run in which faults are on; they end before it does, so that late ones are repaired too."""
KILLING_SHARE = 0.6
"""Nothing is killed behind this share of the run: memory can only be judged in processes that live a while."""


@dataclass(frozen=True)
class Blow:
    """At `second` of the run the process `name` gets `signal`; its supervisor starts it again."""

    second: float
    name: str
    signal: signal.Signals


def blows(seed: int, exchanges: Sequence[str], seconds: float) -> list[Blow]:
    """Kills (-9) of ingestors mostly; the others are killed, or end in order, each in its turn."""
    random = Random(seed)
    struck: list[Blow] = []
    others = itertools.cycle(random.sample(OTHERS, len(OTHERS)))
    second = random.uniform(SOONEST, LATEST)
    while second < seconds * KILLING_SHARE:
        if random.random() < INGESTOR_SHARE:
            struck.append(Blow(second, f"ingestor-{random.choice(exchanges)}", signal.SIGKILL))
        else:
            struck.append(Blow(second, next(others), random.choice((signal.SIGKILL, signal.SIGTERM))))
        second += random.uniform(SOONEST, LATEST)
    return struck
