"""The exchanges' spellings of time, to integer nanoseconds: exactly, without floats and datetimes."""

from __future__ import annotations

from functools import lru_cache

from crosstape.common.errors import InvalidTimeFormat
from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.time import parse_time

MILLISECOND = 1_000_000
"""Nanoseconds in one."""

_END = 1 << 63
_SECOND, _THOUSANDTHS, _MILLIONTHS = slice(20), slice(20, 23), slice(23, None)
_MILLISECONDS = {f"{n:03}": n * MILLISECOND for n in range(1_000)}
_MICROSECONDS = {f"{n:03}Z": n * 1_000 for n in range(1_000)}


class _Seconds(dict[str, int]):
    """Nanoseconds by the text of a second and a point, the few last ones."""

    def __missing__(self, text: str) -> int:
        if text[19] != ".":
            raise ValueError(f"not a time: {text[:40]!r}")
        if len(self) >= _SECONDS_KEPT:
            self.clear()
        self[text] = nanoseconds = _parse(f"{text[:19]}Z")
        return nanoseconds


_SECONDS_KEPT = 64
_SECONDS = _Seconds()


def milliseconds(text: str) -> int:
    """Nanoseconds of a text of milliseconds. Raises ValueError for other texts and beyond 64 bits."""
    if text.isdigit() and text.isascii() and len(text) <= 13:
        return _bounded(int(text) * MILLISECOND)
    raise ValueError(f"not a time: {text[:40]!r}")


def decimal_seconds(text: str) -> int:
    """Nanoseconds of Unix seconds with a decimal fraction (`1762795433.9717445`).

    Digits beyond the ninth are cut. Raises ValueError where it is no plain number or beyond 64 bits.
    """
    whole, _, fraction = text.partition(".")
    digits = whole + fraction
    if not (digits.isascii() and digits.isdigit() and 0 < len(whole) <= 10):
        raise ValueError(f"not a time: {text[:40]!r}")
    return _bounded(int(whole) * NANOSECONDS + int(fraction[:9].ljust(9, "0")))


def iso(text: str) -> int:
    """Nanoseconds of `2021-04-17T16:43:30.244075Z`, whose fraction may have up to 9 digits or be absent.

    Raises ValueError for any other text. The form with microseconds is looked up in pieces, not parsed: all its digits
    are checked by being found, and its second was there before.
    """
    try:
        return _MICROSECONDS[text[_MILLIONTHS]] + _MILLISECONDS[text[_THOUSANDTHS]] + _SECONDS[text[_SECOND]]
    except KeyError:
        return _iso(text)


def _iso(text: str) -> int:
    second, fraction = text[17:19], text[20:-1]
    digits = second + fraction.ljust(9, "0")
    if len(digits) == 11 and digits.isascii() and digits.isdigit() and second < "60" and _is_framed(text):
        return _minute(text[:16]) + int(digits)
    return _parse(text)


def _is_framed(text: str) -> bool:
    return text[16] == ":" and text[19] == "." and text[-1] == "Z" and len(text) > 21


@lru_cache(maxsize=64)
def _minute(text: str) -> int:
    return _parse(f"{text}:00Z")


def _parse(text: str) -> int:
    try:
        return parse_time(text).nanoseconds
    except InvalidTimeFormat as error:
        raise ValueError(f"not a time: {text[:40]!r}") from error


def _bounded(nanoseconds: int) -> int:
    if nanoseconds >= _END:
        raise ValueError(f"time out of range: {nanoseconds}")
    return nanoseconds
