"""Times that users write, to seed 2's letter."""

import datetime as dt

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.errors import InvalidTimeFormat
from crosstape.common.time import UserTime, iso_milliseconds, parse_time

JULY = 1_751_328_000
"""2025-07-01T00:00:00Z"""
S = 1_000_000_000

VALID = {
    "2025-07-01T00:00:00": JULY * S,
    "2025-07-01T00:00:00Z": JULY * S,
    "2025-07-01T00:00:00+03:00": (JULY - 3 * 3600) * S,
    "2025-07-01T00:00:00-05:00": (JULY + 5 * 3600) * S,
    "2025-07-01T00:00:00+05:45": (JULY - 5 * 3600 - 45 * 60) * S,
    "2025-07-01T00:00:00.000Z": JULY * S,
    "2025-07-01T00:00:00.123456Z": JULY * S + 123_456_000,
    "2025-07-01T15:30:45.123Z": (JULY + 55_845) * S + 123_000_000,
    "2025-07-01T00:00:00.123456789Z": JULY * S + 123_456_789,
    "2025-07-01T00:00:00.5": JULY * S + 500_000_000,
    "2024-02-29T00:00:00Z": 1_709_164_800 * S,
    "1970-01-01T00:00:00Z": 0,
}
LEGACY = {"20250701-0000": JULY * S, "20250801-1530": 1_754_062_200 * S}
INVALID = [
    *["2025-07-01", "2025/07/01T00:00:00", "01-07-2025T00:00:00", "2025-7-1T00:00:00", "invalid-time"],
    *["", " ", "now", "1751328000", "2025-07-01T00:00", "2025-07-01 00:00:00", "2025-07-01T00:00:00+0300"],
    *["2025-07-01T00:00:00+24:00", "2025-07-01T00:00:00+03:60", "2025-07-01T00:00:00."],
    *["2025-07-01T00:00:00.1234567890Z"],
    *["2025-02-29T00:00:00Z", "2025-02-30T00:00:00Z", "2025-13-01T00:00:00Z", "2025-00-01T00:00:00Z"],
    *["2025-07-01T24:00:00Z", "2025-07-01T00:60:00Z", "2025-07-01T23:59:60Z", "20250230-0000", "20250701-2400"],
    *["20250701-000", "20250701-00000", "1969-12-31T23:59:59Z", "2262-01-01T00:00:00Z", "0000-00-00T00:00:00Z"],
    *["２０２５-07-01T00:00:00Z", "2025-07-01T00:00:00Z\n", "2025-07-01T00:00:00z", "-1", "1e9", "' OR 1=1", "\ud800"],
]  # fmt: skip


@pytest.mark.parametrize(("text", "nanoseconds"), VALID.items())
def test_iso_8601_is_accepted_and_no_zone_means_utc(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == UserTime(nanoseconds)


@pytest.mark.parametrize(("text", "nanoseconds"), LEGACY.items())
def test_the_legacy_form_is_accepted_and_known_as_such(text: str, nanoseconds: int) -> None:
    assert parse_time(text) == UserTime(nanoseconds, is_legacy=True)


@pytest.mark.parametrize("text", INVALID)
def test_anything_else_is_refused_with_the_exact_sentence_of_seed_2(text: str) -> None:
    with pytest.raises(InvalidTimeFormat) as caught:
        parse_time(text)
    assert caught.value.message == (
        f"Invalid time format: {text}. Expected ISO 8601 format (e.g., 2025-07-01T00:00:00Z, "
        "2025-07-01T00:00:00+03:00) or legacy format (YYYYMMDD-HHmm)"
    )
    assert (caught.value.status, caught.value.error_code) == (422, "INVALID_TIME_FORMAT")


def test_a_plus_that_a_query_string_turned_into_a_space_is_still_a_zone() -> None:
    assert parse_time("2025-07-01T00:00:00 03:00") == parse_time("2025-07-01T00:00:00+03:00")


def test_a_bare_date_is_accepted_only_where_the_route_takes_dates() -> None:
    assert parse_time("2025-07-01", date=True) == UserTime(JULY * S, is_date=True)
    with pytest.raises(InvalidTimeFormat):
        parse_time("2025-07-01", unix=True)
    with pytest.raises(InvalidTimeFormat):
        parse_time("2025-02-30", date=True)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [("1751328000", JULY * S), ("1751328000.000001", JULY * S + 1_000), ("0", 0), ("1.123456789", S + 123_456_789)],
)
def test_unix_seconds_are_accepted_only_where_the_route_takes_them(text: str, nanoseconds: int) -> None:
    assert parse_time(text, unix=True) == UserTime(nanoseconds)
    with pytest.raises(InvalidTimeFormat):
        parse_time(text, date=True)


@pytest.mark.parametrize("text", ["99999999999", "9223372037", "1751328000000", "1" * 30, "1.", ".5", "-5", "1_0", "١"])
def test_unix_seconds_that_64_bits_of_nanoseconds_cannot_hold_are_refused(text: str) -> None:
    with pytest.raises(InvalidTimeFormat):
        parse_time(text, unix=True)


def test_a_long_text_is_not_repeated_in_full() -> None:
    with pytest.raises(InvalidTimeFormat) as caught:
        parse_time("9" * 10_000)
    assert len(caught.value.message) < 500


@given(
    st.datetimes(dt.datetime(1970, 1, 2), dt.datetime(2261, 12, 30)),  # noqa: DTZ001  # naive is what it asks for
    st.integers(-23 * 60 - 59, 23 * 60 + 59).map(lambda minutes: dt.timezone(dt.timedelta(minutes=minutes))),
)
def test_what_datetime_writes_is_read_as_the_same_moment(naive: dt.datetime, zone: dt.timezone) -> None:
    moment = naive.replace(tzinfo=zone)
    since_epoch = moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
    assert parse_time(moment.isoformat()).nanoseconds == since_epoch // dt.timedelta(microseconds=1) * 1_000


@given(st.text() | st.from_regex(r"[0-9TZ:.+ -]{8,32}", fullmatch=True), st.booleans(), st.booleans())
def test_any_text_is_a_time_within_64_bits_or_refused(text: str, unix: bool, date: bool) -> None:
    try:
        found = parse_time(text, unix=unix, date=date)
    except InvalidTimeFormat:
        return
    assert -(2**63) <= found.nanoseconds < 2**63


def test_answers_say_when_they_were_made_in_utc_with_milliseconds() -> None:
    moment = dt.datetime(2025, 11, 13, 13, 30, 45, 123_999, dt.timezone(dt.timedelta(hours=3)))
    assert iso_milliseconds(moment) == "2025-11-13T10:30:45.123Z"
