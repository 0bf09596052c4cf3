"""How much of books one socket may have: a few of the deepest and fastest, and all it may have of the usual ones."""

from __future__ import annotations

import pytest

from crosstape.common.errors import Conflict
from crosstape.stream_hub.book_terms import check_levels, read_terms
from crosstape.stream_hub.desk import MOST_CHANNELS


def test_ten_of_the_deepest_and_fastest_books_fit_into_a_socket_and_no_more():
    deepest = read_terms({"depth": 1000, "interval_ms": 50}, 1)
    check_levels(deepest, [deepest] * 9)
    with pytest.raises(Conflict, match="200000 levels a second"):
        check_levels(deepest, [deepest] * 10)


def test_a_consolidated_book_counts_once_for_each_exchange():
    deepest = read_terms({"depth": 1000, "interval_ms": 50}, 5)
    check_levels(deepest, [deepest])
    with pytest.raises(Conflict):
        check_levels(deepest, [deepest] * 2)


def test_a_socket_may_have_all_its_books_as_they_are_by_default_and_single_ones_of_a_hundred_levels():
    for usual in (read_terms({}, 6), read_terms({"depth": 100}, 1)):
        check_levels(usual, [usual] * (MOST_CHANNELS - 1))
