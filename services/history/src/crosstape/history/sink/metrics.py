"""What the sink counts."""

from __future__ import annotations

from typing import get_args

from prometheus_client import Counter, Gauge, Histogram

from crosstape.common.market.soundness import Flaw
from crosstape.common.runtime.metrics import begin

UNDECODABLE, LEDGER_EVENT = "undecodable", "ledger_event"
REASONS = frozenset({UNDECODABLE, LEDGER_EVENT, *get_args(Flaw)})
"""Why records and trades are put aside."""

ROWS = Counter("crosstape_history_rows_total", "Rows inserted, repeats included", ["table"])
FLUSH_SECONDS = Histogram(
    "crosstape_history_flush_seconds",
    "From a batch in hand to its rows stored",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
LAG_SECONDS = Gauge(
    "crosstape_history_lag_seconds",
    "Age of the oldest record of the newest batch when it was stored, 0 when nothing came",
)
DEAD_LETTERS = Counter("crosstape_history_dead_letters_total", "Records or trades put aside", ["reason"])
STORE_FAILURES = Counter("crosstape_history_store_failures_total", "Attempts to store that failed and were repeated")
BARS = Counter(
    "crosstape_history_bars_closed_total", "Minute bars stored, by status (`revised` replaced a stored one)", ["status"]
)
CONFLICTS = Counter("crosstape_history_tape_conflicts_total", "Trades seen with copies that say different things")
BACKLOG = Gauge("crosstape_history_closing_backlog", "Minutes that got trades and are not closed yet")
CLOSING_SECONDS = Histogram(
    "crosstape_history_closing_step_seconds",
    "One step of closing bars, by their `interval` (minutes bring their seconds along)",
    ["interval"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)

begin(DEAD_LETTERS, REASONS)
