"""Guessing is slowed down: every failure beyond the free ones makes the next attempt wait longer, up to a cap.

Failures are counted by account and by address; both drain over time. An account that its owner has logged in to from
an address counts that address's failures apart, so strangers who guess cannot keep the owner waiting. The counts lie in
Redis, where all replicas share them; while it is away each process counts for itself.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable
from importlib.resources import files
from typing import Literal

import structlog
from cachetools import TTLCache
from msgspec import Struct
from redis.asyncio import Redis
from redis.exceptions import RedisError

from crosstape.auth.metrics import THROTTLED
from crosstape.common.errors import RateLimited
from crosstape.common.identity.address import network_of

log = structlog.get_logger(__name__)

KNOWN_SECONDS = 30 * 86_400
"""How long an address counts as the owner's after a login from it."""
AWAY_SECONDS = 1.0
"""How long Redis is not asked again after it failed."""
_REMEMBERED = 20_000

Step = Literal["check", "failed", "succeeded"]


class Policy(Struct, frozen=True):
    """`free` failures cost nothing; the next one `first` seconds, each further one twice as much, at most `cap`.

    One failure is forgiven every `drain` seconds.
    """

    free: int
    drain: float
    cap: float
    first: float = 1.0

    @property
    def most(self) -> int:
        """The count at which the delay reaches the cap; it does not grow further, so that it drains soon."""
        return self.free + 1 + math.ceil(math.log2(max(1.0, self.cap / self.first)))

    def after_failure(self, count: float, age: float) -> tuple[float, float]:
        """The new count and the delay in seconds, for a `count` noted `age` seconds ago."""
        count = min(max(0.0, count - age / self.drain) + 1, self.most)
        delay = 0.0 if count <= self.free else min(self.cap, self.first * 2 ** (math.ceil(count - self.free) - 1))
        return count, delay


ACCOUNT = Policy(free=5, drain=60.0, cap=30.0)
ADDRESS = Policy(free=20, drain=20.0, cap=60.0)
"""Many people may share an address."""
REGISTRATIONS = Policy(free=20, drain=20.0, cap=60.0)
"""Every registration counts, those that succeed too."""


class Attempt(Struct, frozen=True):
    """Somebody at `address` tries the account of `name_key`, whether it exists or not."""

    name_key: str
    address: str

    @property
    def keys(self) -> list[str]:
        """Of the counts: the account's, the account's at this address, the address's; and that it is known there."""
        account = hashlib.sha256(self.name_key.encode()).hexdigest()[:32]
        network = network_of(self.address)
        pair = f"{account}:{network}"
        return [f"account:{account}", f"account-at:{pair}", f"address:{network}", f"known:{pair}"]


class _Local:
    """The same counts in this process."""

    def __init__(self, account: Policy, address: Policy, clock: Callable[[], float]):
        self._policies = (account, address)
        self._clock = clock
        self._counts: TTLCache[str, tuple[float, float, float]] = TTLCache(_REMEMBERED, 3600.0)
        self._known: TTLCache[str, bool] = TTLCache(_REMEMBERED, KNOWN_SECONDS)

    def check(self, attempt: Attempt) -> float:
        now = self._clock()
        return max(self._counts.get(key, (0.0, 0.0, 0.0))[2] - now for key in self._keys(attempt))

    def failed(self, attempt: Attempt) -> float:
        now = self._clock()
        longest = 0.0
        for key, policy in zip(self._keys(attempt), self._policies, strict=True):
            count, noted_at, _ = self._counts.get(key, (0.0, now, 0.0))
            count, delay = policy.after_failure(count, now - noted_at)
            self._counts[key] = (count, now, now + delay)
            longest = max(longest, delay)
        return longest

    def succeeded(self, attempt: Attempt) -> float:
        self._counts.pop(self._keys(attempt)[0], None)
        self._known[attempt.keys[3]] = True
        return 0.0

    def take(self, step: Step, attempt: Attempt) -> float:
        """What the script does, for any step."""
        return {"check": self.check, "failed": self.failed, "succeeded": self.succeeded}[step](attempt)

    def _keys(self, attempt: Attempt) -> tuple[str, str]:
        account, account_there, address, known = attempt.keys
        return account_there if known in self._known else account, address


class Throttle:
    """Of one `kind` of attempt. `check` before anything costly; then `failed` or `succeeded`."""

    def __init__(
        self, kind: str, redis: Redis, account: Policy, address: Policy, clock: Callable[[], float] = time.monotonic
    ):
        self._kind = kind
        self._clock = clock
        self._local = _Local(account, address, clock)
        self._script = redis.register_script((files("crosstape.auth") / "throttle.lua").read_text())
        self._arguments = [
            str(number)
            for policy in (account, address)
            for number in (policy.free, policy.drain, policy.cap, policy.first, policy.most)
        ]
        self._away_until = float("-inf")

    async def check(self, attempt: Attempt) -> None:
        """Raises RateLimited while the attempt has to wait."""
        wait = await self._ask("check", attempt)
        if wait > 0:
            THROTTLED.labels(self._kind).inc()
            seconds = max(1, math.ceil(wait))
            raise RateLimited(f"Too many failed attempts. Try again in {seconds} s.", seconds)

    async def failed(self, attempt: Attempt) -> float:
        """Count a failure; how many seconds the next attempt has to wait."""
        return await self._ask("failed", attempt)

    async def succeeded(self, attempt: Attempt) -> None:
        """Forget the account's failures, not the address's; the address is known to be the owner's from now on."""
        await self._ask("succeeded", attempt)

    async def _ask(self, step: Step, attempt: Attempt) -> float:
        if self._clock() >= self._away_until:
            keys = [f"crosstape:throttle:{self._kind}:{key}" for key in attempt.keys]
            try:
                return int(await self._script(keys=keys, args=[step, KNOWN_SECONDS, *self._arguments])) / 1000
            except (RedisError, OSError, TimeoutError) as error:
                log.warning("throttle_local", kind=self._kind, error=type(error).__name__)
                self._away_until = self._clock() + AWAY_SECONDS
        return self._local.take(step, attempt)
