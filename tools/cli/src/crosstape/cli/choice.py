"""What the user of `demo`, `up` and `replay` chose."""

from dataclasses import dataclass
from pathlib import Path

SIMULATED_EXCHANGES = ("binance", "kraken", "coinbasepro", "okx", "bybit")
"""What the simulator speaks."""


@dataclass(frozen=True, slots=True)
class Simulation:
    """How the simulated exchanges trade; the meanings are those of `python -m crosstape.exchange_sim --help`."""

    symbols: int = 20
    rate: float = 200.0
    seed: int = 1
    faults: str = ""
    recordings: Path | None = None
    times: str = "recorded"
    speed: str = "1"


@dataclass(frozen=True, slots=True)
class Choice:
    """What the user chose. Without a `simulation` the real exchanges are read, and `symbols` names the markets."""

    port: int
    dashboard_port: int
    exchanges: tuple[str, ...]
    simulation: Simulation | None = None
    symbols: tuple[str, ...] = ()
    log_level: str = "INFO"

    @property
    def mode(self) -> str:
        """demo, replay or live."""
        if self.simulation is None:
            return "live"
        return "replay" if self.simulation.recordings else "demo"
