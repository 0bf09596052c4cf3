"""What the engine counts."""

from __future__ import annotations

from prometheus_client import Counter, Gauge, Histogram

LATENESS = Histogram(
    "crosstape_twap_slice_lateness_seconds",
    "How long after it was due a slice started",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
MISSED = Counter("crosstape_twap_slices_missed_total", "Slices whose time passed before they could start")
UNFILLED = Counter("crosstape_twap_slices_short_total", "Slices that got less than they asked for", ["reason"])
SLIPPAGE = Histogram(
    "crosstape_twap_slippage_ratio",
    "How much worse a slice was filled than the mid price at its start, as a part of it; below 0: better",
    buckets=(-0.001, -0.0001, 0, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025),
)
FILLS = Counter("crosstape_twap_fills_total", "Fills of slices", ["exchange"])
OPEN = Gauge("crosstape_twap_open_orders", "Open orders that this replica works on")
LOST = Counter("crosstape_twap_orders_lost_total", "Orders that were somebody else's, or ended, when a slice was due")
TAKEN_OVER = Counter("crosstape_twap_orders_taken_over_total", "Orders claimed from a replica that was gone")
WAITING_EVENTS = Gauge(
    "crosstape_twap_events_waiting", "Rows of the outbox that wait for the bus, at the replica that tells them"
)
