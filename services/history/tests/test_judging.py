"""What a minute is called, as far as it is known. Pure."""

from __future__ import annotations

import pytest

from crosstape.common.market.ledger import GapState
from crosstape.history.api.completeness import MinuteTrades, judge_minutes
from crosstape.history.api.ledger import Ledger, LedgerGap

SECOND = 10**9
HOUR = (0, 3_600 * SECOND)


def judged(heard: list[tuple[int, int]], gap: tuple[int, int], stored_until: int = 3_600) -> list[str]:
    """What the minutes 0 and 60 are, both with trades, of which `gap` (s) was repaired."""
    seconds = [(start * SECOND, end * SECOND) for start, end in heard]
    ledger = Ledger(
        HOUR, seconds, [LedgerGap(-1, -1, gap[0] * SECOND, gap[1] * SECOND, "disconnect", GapState.REPAIRED)]
    )
    traded = dict.fromkeys((0, 60), MinuteTrades(3, 1, 3))
    return [minute.status for minute in judge_minutes([0, 60], traded, ledger, stored_until, ())]


def test_a_repaired_minute_was_heard_in_all_that_was_not_repaired() -> None:
    assert judged([(0, 70), (80, 120)], (70, 80)) == ["complete", "repaired"]


@pytest.mark.parametrize(
    ("heard", "stored_until"),
    [
        pytest.param([(0, 70), (80, 95)], 3_600, id="it is not over"),
        pytest.param([(75, 120)], 3_600, id="nobody listened when it began"),
        pytest.param([(0, 70), (80, 120)], 60, id="what was fetched is not stored yet"),
    ],
)
def test_a_repair_does_not_vouch_for_the_rest_of_its_minute(heard: list[tuple[int, int]], stored_until: int) -> None:
    assert judged(heard, (76, 80) if heard[0][0] else (70, 80), stored_until)[1] == "unknown"
