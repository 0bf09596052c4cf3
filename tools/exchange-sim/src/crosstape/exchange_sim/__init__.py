"""Simulated exchanges that speak the real public WebSocket and REST protocols over sockets on loopback."""

from crosstape.exchange_sim.server import running_sim
from crosstape.exchange_sim.settings import SimConfig

__all__ = ["SimConfig", "running_sim"]
