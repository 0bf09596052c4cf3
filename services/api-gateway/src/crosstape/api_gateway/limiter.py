"""Token buckets that every gateway shares, in Redis; and in this process while Redis is away."""

from __future__ import annotations

import asyncio
import functools
import struct
import time
from importlib.resources import files

import structlog
from cachetools import LRUCache

from crosstape.api_gateway.metrics import LIMITER_SHARED
from crosstape.api_gateway.rates import Rate, Verdict, take, verdict
from crosstape.api_gateway.redis_pipe import RedisPipe, encoded, open_pipe
from crosstape.api_gateway.watchdog import Watchdog
from crosstape.common.waiting import unless_stopped

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.25
"""A Redis that takes longer than this is away."""
OPENING_SECONDS = 1.0
"""The same of a new connection: half a dozen questions and answers, and a file of authorities to be read."""
RETRY_SECONDS = 0.5
_BATCH = 128
_LOCAL_BUCKETS = 50_000
_PREFIX = b"crosstape:{limit}:"
"""The braces keep all buckets on one node of a cluster, as one script must have its keys."""

_PROBE = Rate.of(1_000_000, 1)
_SCRIPT = files("crosstape.api_gateway").joinpath("gcra.lua").read_bytes()
_ANSWER = struct.Struct("<dd")


class _Request:
    __slots__ = ("cost", "future", "key", "rate")

    def __init__(self, key: str, rate: Rate, cost: int, future: asyncio.Future[Verdict]):
        self.key = key
        self.rate = rate
        self.cost = cost
        self.future = future


class Limiter:
    """Takes tokens from named buckets; `is_shared` while they are those in Redis. What comes in one turn of the loop,
    or while a script runs, shares the next one.

    While Redis is away each process counts for itself, at the same rates and from full buckets: with n gateways up to
    n times as much passes. Nobody is refused because of it.
    """

    def __init__(self, redis_url: str):
        self._url = redis_url
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Request] = []
        self._asked: list[_Request] = []
        self._is_asking = False
        self._pipe: RedisPipe | None = None
        self._script = b""
        self._watchdog = Watchdog(self._give_up)
        self._is_away = False
        self._local: LRUCache[str, float] = LRUCache(_LOCAL_BUCKETS)
        LIMITER_SHARED.set_function(lambda: float(self.is_shared))

    @property
    def is_shared(self) -> bool:
        return self._pipe is not None

    def take(self, key: str, rate: Rate, cost: int = 1) -> asyncio.Future[Verdict]:
        """Take `cost` tokens, at most a whole burst, from the bucket `key`. Never fails for want of Redis."""
        cost = min(cost, rate.burst)
        future: asyncio.Future[Verdict] = self._loop.create_future()
        if self._pipe is None:
            future.set_result(self._take_locally(key, rate, cost))
            return future
        self._waiting.append(_Request(key, rate, cost, future))
        if not self._is_asking:
            self._is_asking = True
            self._loop.call_soon(self._ask)
        return future

    async def run(self, stop: asyncio.Event) -> None:
        """Keep the connection until stopped; Redis may come and go."""
        await unless_stopped(stop, self._keep())

    async def _keep(self) -> None:
        while True:
            pipe = None
            try:
                async with asyncio.timeout(OPENING_SECONDS):
                    pipe = await open_pipe(self._url)
                    digest = await pipe.ask(b"SCRIPT", b"LOAD", _SCRIPT)
                    # Who may not run it, or write, hears of that now, and the connection never counts as one.
                    await pipe.ask(b"EVALSHA", digest, b"1", _PREFIX + b"probe", *_numbers(_PROBE, 1))
                self._script = encoded(b"EVALSHA", digest)
                if self._is_away:
                    log.info("limits_back")
                self._pipe, self._is_away = pipe, False
                await pipe.lost
            except (OSError, TimeoutError) as error:
                self._say_away(str(error) or type(error).__name__)
            else:
                self._say_away(pipe.refusal or "connection lost")
            finally:
                self._settle_locally()
                if pipe:
                    pipe.close()
            await asyncio.sleep(RETRY_SECONDS)

    def _say_away(self, reason: str) -> None:
        if not self._is_away:
            log.warning("limits_away", error=reason)
        self._is_away = True

    def _ask(self) -> None:
        if self._pipe is None or self._pipe.lost.done() or not self._waiting:
            self._is_asking = False
            return
        self._asked, self._waiting = self._waiting[:_BATCH], self._waiting[_BATCH:]
        self._watchdog.wait(ANSWER_SECONDS)
        self._pipe.send(self._command(self._asked), self._answer)

    def _command(self, batch: list[_Request]) -> bytes:
        parts = [b"*%d\r\n" % (3 + 4 * len(batch)), self._script, encoded(b"%d" % len(batch))]
        parts += [encoded(_PREFIX + request.key.encode()) for request in batch]
        parts += [_encoded_numbers(request.rate, request.cost) for request in batch]
        return b"".join(parts)

    def _answer(self, reply: bytes) -> None:
        self._watchdog.rest()
        asked, self._asked = self._asked, []
        for request, (debt, early) in zip(asked, _ANSWER.iter_unpack(reply), strict=True):
            if not request.future.done():
                request.future.set_result(verdict(request.rate, debt, early))
        self._ask()

    def _give_up(self) -> None:
        if self._pipe:
            self._pipe.close()

    def _settle_locally(self) -> None:
        self._pipe, self._is_asking = None, False
        self._watchdog.rest()
        left, self._asked, self._waiting = [*self._asked, *self._waiting], [], []
        for request in left:
            if not request.future.done():
                request.future.set_result(self._take_locally(request.key, request.rate, request.cost))

    def _take_locally(self, key: str, rate: Rate, cost: int) -> Verdict:
        now = time.monotonic_ns() // 1000
        self._local[key], debt, early = take(self._local.get(key, now), now, rate, cost)
        return verdict(rate, debt, early)


def _numbers(rate: Rate, cost: int) -> tuple[bytes, ...]:
    """The script's three for a key."""
    return b"%d" % rate.interval, b"%d" % rate.burst, b"%d" % cost


@functools.lru_cache
def _encoded_numbers(rate: Rate, cost: int) -> bytes:
    return encoded(*_numbers(rate, cost))
