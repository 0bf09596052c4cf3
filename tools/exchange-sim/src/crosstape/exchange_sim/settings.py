"""What one simulator run is made of."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from crosstape.exchange_sim.instruments import EXCHANGES


@dataclass(frozen=True, slots=True)
class SimConfig:
    """`port` 0 takes a free one. `rate`: trades per second over all fast markets. `symbols`: how many bases
    trade fast on each exchange. `bases`: where named, the only ones, all of them fast. `history`: trades kept
    per market. `speed` (of a replay) may be `inf`."""

    port: int = 0
    exchanges: tuple[str, ...] = EXCHANGES
    symbols: int = 20
    bases: tuple[str, ...] = ()
    rate: float = 200.0
    seed: int = 1
    faults: Mapping[str, float] = field(default_factory=dict)
    state: Path | None = None
    recordings: Path | None = None
    speed: float = 1.0
    times: Literal["recorded", "now"] = "recorded"
    history: int = 200_000
