"""Back-off."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from crosstape.ingestor.feed import BASE_DELAY, LONGEST_DELAY, backoff


@given(st.integers(0, 1_000), st.floats(0, 1, exclude_max=True))
def test_back_off_stays_within_its_bounds_for_any_number_of_failures(failures: int, chance: float) -> None:
    assert 0 <= backoff(failures, chance) < LONGEST_DELAY


@given(st.integers(0, 10))
def test_back_off_doubles_until_its_cap(failures: int) -> None:
    assert backoff(failures, 0.5) == min(LONGEST_DELAY, BASE_DELAY * 2**failures) / 2
