"""Limits: how many sockets a user and an address may have, and how fast one socket may ask."""

from __future__ import annotations

from collections import Counter

from crosstape.stream_hub.protocol import TooMany


class Admissions:
    """Counts open sockets. What was admitted must be released once."""

    def __init__(self, per_address: int, per_user: int, in_all: int):
        self._per_address = per_address
        self._per_user = per_user
        self._in_all = in_all
        self._addresses: Counter[str] = Counter()
        self._users: Counter[str] = Counter()

    def admit(self, address: str) -> None:
        """One more socket from `address`. Raises TooMany, having counted nothing."""
        if self._addresses.total() >= self._in_all:
            raise TooMany("The hub has as many connections as it can carry: try again shortly.")
        if self._addresses[address] >= self._per_address:
            raise TooMany(f"Your address has {self._per_address} connections, the most it may have.")
        self._addresses[address] += 1

    def release(self, address: str) -> None:
        """A socket of `address` is gone."""
        _decrement(self._addresses, address)

    def admit_user(self, user_id: str) -> None:
        """One more socket of the user. Raises TooMany, having counted nothing."""
        if self._users[user_id] >= self._per_user:
            raise TooMany(f"You have {self._per_user} connections, the most an account may have.")
        self._users[user_id] += 1

    def release_user(self, user_id: str) -> None:
        """A socket of the user is gone."""
        _decrement(self._users, user_id)


def _decrement(counter: Counter[str], key: str) -> None:
    counter[key] -= 1
    if counter[key] <= 0:
        del counter[key]


class Allowance:
    """A token bucket: `rate` a second, `burst` at once. Time (s) comes from outside."""

    __slots__ = ("_burst", "_left", "_rate", "_seen")

    def __init__(self, rate: float, burst: int, now: float):
        self._rate = rate
        self._burst = burst
        self._left = float(burst)
        self._seen = now

    def take(self, now: float) -> bool:
        """Whether one more is allowed at `now`; then it is counted."""
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate)
        self._seen = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
