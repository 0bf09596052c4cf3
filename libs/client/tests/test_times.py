"""Times as a caller has them."""

from __future__ import annotations

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest

from crosstape.client.times import Time, time_text


@pytest.mark.parametrize(
    ("moment", "text"),
    [
        (1751328000, "2025-07-01T00:00:00Z"),
        (np.int64(1751328000), "2025-07-01T00:00:00Z"),
        (1751328000.975299, "2025-07-01T00:00:00.975299Z"),
        (np.float64(1751328000.5), "2025-07-01T00:00:00.5Z"),
        (Decimal("1751328000.123456789"), "2025-07-01T00:00:00.123456789Z"),
        (pd.Timestamp("2025-07-01T02:00:00.000000001", tz="Europe/Paris"), "2025-07-01T00:00:00.000000001Z"),
    ],
)
def test_a_time_is_sent_as_the_instant_it_is(moment: Time, text: str) -> None:
    assert time_text(moment) == text


@pytest.mark.parametrize("moment", [1751328000000, -1, -0.5, np.nan, np.inf])
def test_what_cannot_be_unix_seconds_is_refused_before_it_is_sent(moment: float) -> None:
    with pytest.raises(ValueError, match="no time in Unix seconds"):
        time_text(moment)
