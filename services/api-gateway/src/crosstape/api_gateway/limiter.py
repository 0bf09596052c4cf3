"""Token buckets that every gateway shares, in Redis; and in this process while Redis is away."""

from __future__ import annotations

import asyncio
import struct
import time
from importlib.resources import files

import structlog
from cachetools import LRUCache
from redis.asyncio import Connection, Redis
from redis.exceptions import RedisError

from crosstape.api_gateway.metrics import LIMITER_SHARED
from crosstape.api_gateway.rates import Rate, Verdict, take, verdict
from crosstape.common.runtime.lifecycle import unless_stopped

log = structlog.get_logger(__name__)

ANSWER_SECONDS = 0.25
"""A Redis that takes longer than this is away."""
RETRY_SECONDS = 0.5
_BATCH = 128
_LOCAL_BUCKETS = 50_000
_PREFIX = b"crosstape:{limit}:"
"""The braces keep all buckets on one node of a cluster, as one script must have its keys."""

_SCRIPT = files("crosstape.api_gateway").joinpath("assets/gcra.lua").read_text("utf-8")
_ANSWER = struct.Struct("<dd")


class _Request:
    __slots__ = ("cost", "future", "key", "rate")

    def __init__(self, key: str, rate: Rate, cost: int, future: asyncio.Future[Verdict]):
        self.key = key
        self.rate = rate
        self.cost = cost
        self.future = future


class Limiter:
    """Takes tokens from named buckets; `is_shared` while they are those in Redis. What waits while a script runs shares
    the next one.

    While Redis is away each process counts for itself, at the same rates and from full buckets: with n gateways up to
    n times as much passes. Nobody is refused because of it.
    """

    def __init__(self, redis: Redis):
        self._redis = redis
        self._loop = asyncio.get_running_loop()
        self._waiting: list[_Request] = []
        self._has_waiting = asyncio.Event()
        self.is_shared = False
        self._is_away = False
        self._local: LRUCache[str, float] = LRUCache(_LOCAL_BUCKETS)
        LIMITER_SHARED.set_function(lambda: float(self.is_shared))

    def take(self, key: str, rate: Rate, cost: int = 1) -> asyncio.Future[Verdict]:
        """Take `cost` tokens, at most a whole burst, from the bucket `key`. Never fails for want of Redis."""
        cost = min(cost, rate.burst)
        future: asyncio.Future[Verdict] = self._loop.create_future()
        if self.is_shared:
            self._waiting.append(_Request(key, rate, cost, future))
            self._has_waiting.set()
        else:
            future.set_result(self._take_locally(key, rate, cost))
        return future

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until stopped; Redis may come and go."""
        await unless_stopped(stop, self._keep())

    async def _keep(self) -> None:
        while True:
            connection: Connection = self._redis.connection_pool.make_connection()  # type: ignore[no-untyped-call]
            try:
                await self._serve(connection)
            except (RedisError, OSError, TimeoutError) as error:
                if not self._is_away:
                    log.warning("limits_away", error=type(error).__name__)
                self._is_away = True
            finally:
                self.is_shared = False
                self._settle_locally()
                await connection.disconnect(nowait=True)
            await asyncio.sleep(RETRY_SECONDS)

    async def _serve(self, connection: Connection) -> None:
        async with asyncio.timeout(ANSWER_SECONDS):
            await connection.connect()  # type: ignore[no-untyped-call]
            await connection.send_command("SCRIPT", "LOAD", _SCRIPT)
            loaded = await connection.read_response()
        digest = loaded if isinstance(loaded, bytes) else loaded.encode()
        if self._is_away:
            log.info("limits_back")
        self.is_shared, self._is_away = True, False
        while True:
            await self._has_waiting.wait()
            batch = self._waiting[:_BATCH]
            async with asyncio.timeout(ANSWER_SECONDS):
                # Packed here: the client's own packing of a hundred words takes longer than all the rest.
                await connection.send_packed_command(_packed(_command(digest, batch)), check_health=False)
                answer = await connection.read_response(disable_decoding=True)
            del self._waiting[: len(batch)]
            if not self._waiting:
                self._has_waiting.clear()
            for request, (debt, early) in zip(batch, _ANSWER.iter_unpack(answer), strict=True):
                if not request.future.done():
                    request.future.set_result(verdict(request.rate, debt, early))

    def _settle_locally(self) -> None:
        waiting, self._waiting = self._waiting, []
        self._has_waiting.clear()
        for request in waiting:
            if not request.future.done():
                request.future.set_result(self._take_locally(request.key, request.rate, request.cost))

    def _take_locally(self, key: str, rate: Rate, cost: int) -> Verdict:
        now = time.monotonic_ns() // 1000
        self._local[key], debt, early = take(self._local.get(key, now), now, rate, cost)
        return verdict(rate, debt, early)


def _command(digest: bytes, batch: list[_Request]) -> list[bytes]:
    words = [b"EVALSHA", digest, b"%d" % len(batch), *(_PREFIX + request.key.encode() for request in batch)]
    for request in batch:
        words += (b"%d" % request.rate.interval, b"%d" % request.rate.burst, b"%d" % request.cost)
    return words


def _packed(words: list[bytes]) -> list[bytes]:
    return [b"".join((b"*%d\r\n" % len(words), *(b"$%d\r\n%b\r\n" % (len(word), word) for word in words)))]
