"""The series that alerts watch, there before anything has happened."""

from __future__ import annotations

from crosstape.common.market.ledger import GapState
from crosstape.common.runtime.metrics import begin
from crosstape.ingestor.feed import CONNECTED, CONNECTS, FRAMES
from crosstape.ingestor.publish import DECIMAL, REFUSED
from crosstape.ingestor.telling import CAUSES, GAPS


def begin_series(exchange: str) -> None:
    """Have at 0 what every ingestor counts."""
    begin(REFUSED, [exchange], [DECIMAL])
    begin(GAPS, [exchange], CAUSES, GapState)


def begin_socket_series(exchange: str) -> None:
    """The same of one that has sockets. Without frames that were counted there would be no silence of an exchange that
    was never reached."""
    for metric in (FRAMES, CONNECTED, CONNECTS):
        begin(metric, [exchange])
