"""Long answers: each holds a connection to its service for as long as its client takes to read it."""

from __future__ import annotations

from crosstape.api_gateway.guests import PerNetwork
from crosstape.api_gateway.service_connection import Busy
from crosstape.common.errors import RateLimited


class Streams:
    """Those of one service, which has so many `connections`: a quarter of them is the most for one network, three
    quarters for all. So slow readers leave a way through to others, and to what is short."""

    def __init__(self, connections: int):
        self._most = max(1, connections * 3 // 4)
        self._open = PerNetwork(max(1, connections // 4))

    def open(self, network: str) -> None:
        """One more; `close` it. Raises RateLimited and Busy."""
        if not self._open.has_room(network):
            raise RateLimited("There are too many long answers on their way to your address: read one first.", 5)
        if self._open.total >= self._most:
            raise Busy("too many long answers are on their way")
        self._open.add(network)

    def close(self, network: str) -> None:
        """One less."""
        self._open.remove(network)
