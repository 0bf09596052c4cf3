"""The rule by which the fault test and the soak judge a tape catches what it is there to catch."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from tests.e2e.tape import Difference, Row, compare

MINUTE = 1_754_000_040
IDS = [str(number) for number in range(1, 6)]


def rows(ids: list[str], *, lacking: int | None = None) -> dict[str, Row]:
    """A trade a second from the beginning of MINUTE on, but for the one that lacks."""
    return {
        trade_id: Row((MINUTE + second) * 1_000_000, Decimal(100), Decimal(1), "buy")
        for second, trade_id in enumerate(ids)
        if second != lacking
    }


def ledger(status: str, timestamp: int = MINUTE) -> dict[str, Any]:
    """One that names trade 3, as history does of every hole between two numbers, and says this of a minute."""
    return {"missing_ids": [[3, 3]], "minutes": [{"timestamp": timestamp, "status": status}]}


def judged(exchange: str, told: dict[str, Any], *, lacking: int | None = 2) -> Difference:
    return compare(exchange, rows(IDS, lacking=lacking), rows(IDS), told)


@pytest.mark.parametrize("exchange", ["binance", "kraken", "coinbasepro", "okx"])
def test_a_number_that_lacks_settles_nothing_whatever_the_ledger_says(exchange: str) -> None:
    assert judged(exchange, ledger("complete"), lacking=None).is_settled
    assert not judged(exchange, ledger("gap")).is_settled


def test_without_numbers_what_lacks_must_be_in_a_minute_that_is_called_a_gap() -> None:
    assert judged("bybit", ledger("gap")).is_settled
    assert not judged("bybit", ledger("repaired")).is_settled
    assert not judged("bybit", ledger("gap", MINUTE + 60)).is_settled


def test_what_was_before_the_first_stored_trade_was_not_promised() -> None:
    assert judged("okx", ledger("complete"), lacking=0).is_settled


def test_an_invented_a_changed_trade_and_an_empty_tape_are_seen() -> None:
    changed = {**rows(IDS), "5": Row((MINUTE + 4) * 1_000_000, Decimal(101), Decimal(1), "buy")}
    for tape in (rows([*IDS, "9"]), changed, {}):
        assert not compare("okx", tape, rows(IDS), ledger("complete")).is_settled
