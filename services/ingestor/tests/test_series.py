"""What alerts watch of an exchange that was not reached yet."""

import re

from prometheus_client import REGISTRY

from crosstape.common.market.ledger import Gap
from crosstape.ingestor.series import begin_series, begin_socket_series
from crosstape.ingestor.telling import CAUSES


def test_an_exchange_that_was_never_reached_has_read_no_frame_and_has_no_socket() -> None:
    begin_socket_series("never")
    for name in ("frames_total", "connects_total", "connected_sockets"):
        assert REGISTRY.get_sample_value(f"crosstape_ingestor_{name}", {"exchange": "never"}) == 0


def test_an_exchange_without_sockets_is_not_silent() -> None:
    begin_series("asked")
    assert REGISTRY.get_sample_value("crosstape_ingestor_frames_total", {"exchange": "asked"}) is None
    labels = {"exchange": "asked", "reason": "decimal"}
    assert REGISTRY.get_sample_value("crosstape_ingestor_trades_refused_total", labels) == 0


def test_every_gap_that_can_be_told_is_counted_before_it_is_seen() -> None:
    begin_series("whole")
    causes = str(Gap.__doc__).partition("what made it: ")[2].partition("`trades`")[0]
    assert {*re.findall(r"`(\w+)`", causes)} == {*CAUSES, "backfill"}
    for cause in CAUSES:
        labels = {"exchange": "whole", "cause": cause, "state": "unfillable"}
        assert REGISTRY.get_sample_value("crosstape_ingestor_gaps_total", labels) == 0
