"""Limits: how many sockets a user and an address may have, and how fast one socket may ask."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from crosstape.common.identity.address import network_of
from crosstape.stream_hub.protocol import TooMany


class Admissions:
    """Counts open sockets; those of an IPv6 client by its /64. What was admitted must be released once."""

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
        network = network_of(address)
        if self._addresses[network] >= self._per_address:
            raise TooMany(f"Your address has {self._per_address} connections, the most it may have.")
        self._addresses[network] += 1

    def release(self, address: str) -> None:
        """A socket of `address` is gone."""
        _decrement(self._addresses, network_of(address))

    def admit_user(self, user_id: str) -> None:
        """One more socket of the user. Raises TooMany, having counted nothing."""
        if self._users[user_id] >= self._per_user:
            raise TooMany(f"You have {self._per_user} connections, the most an account may have.")
        self._users[user_id] += 1

    def release_user(self, user_id: str) -> None:
        """A socket of the user is gone."""
        _decrement(self._users, user_id)


class Places:
    """Places for replays: so many `in_all`, and so many `per_user`."""

    def __init__(self, in_all: int, per_user: int):
        self._in_all = in_all
        self._per_user = per_user
        self._users: Counter[str] = Counter()

    @contextmanager
    def taken(self, user_id: str) -> Iterator[None]:
        """One more of the user's for as long as this is entered. Raises TooMany."""
        if self._users.total() >= self._in_all:
            raise TooMany("The hub replays to as many clients as it can: try again shortly.")
        if self._users[user_id] >= self._per_user:
            raise TooMany(f"You have {self._per_user} replays running, the most an account may have at once.")
        self._users[user_id] += 1
        try:
            yield
        finally:
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

    def take(self, now: float, cost: int = 1) -> bool:
        """Whether one more is allowed at `now`; then it is counted, as `cost` of them."""
        self._left = min(self._burst, self._left + (now - self._seen) * self._rate)
        self._seen = now
        if self._left < cost:
            return False
        self._left -= cost
        return True
