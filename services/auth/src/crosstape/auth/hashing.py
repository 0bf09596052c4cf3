"""argon2id, bounded: so many hashes at once, so many waiting, and then no more (each takes 19 MiB and 18 ms)."""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import TypeVar

import argon2

from crosstape.auth.metrics import HASH_SECONDS, HASHES_REFUSED
from crosstape.auth.passwords import normalised
from crosstape.common.errors import ServiceUnavailable

AT_ONCE = min(4, os.cpu_count() or 1)
MOST_WAITING = 32

Result = TypeVar("Result")


class PasswordHasher:
    """Hashes and verifies in threads of its own (argon2 lets go of the GIL)."""

    def __init__(self, memory_kib: int, passes: int):
        self._argon2 = argon2.PasswordHasher(time_cost=passes, memory_cost=memory_kib, parallelism=1)
        self._threads = ThreadPoolExecutor(AT_ONCE, thread_name_prefix="argon2")
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._waiting = 0
        self._nobodys = self._argon2.hash(secrets.token_urlsafe())

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn to hash. Raises ServiceUnavailable at once when too many wait already."""
        if self._waiting >= MOST_WAITING:
            HASHES_REFUSED.inc()
            raise ServiceUnavailable("Too many logins at this moment. Try again in 1 s.", headers={"Retry-After": "1"})
        self._waiting += 1
        try:
            await self._slots.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._slots.release()

    async def hash(self, password: str) -> str:
        """The encoded hash of `password`. In one's turn only."""
        return await self._run(lambda: self._argon2.hash(normalised(password)))

    async def matches(self, password: str, known: str | None) -> bool:
        """Whether `password` is that of the hash `known`; None costs the same and is False. In one's turn only."""
        return await self._run(lambda: self._verify(password, known or self._nobodys)) and known is not None

    def is_outdated(self, known: str) -> bool:
        """Whether `known` was made with other parameters than today's."""
        return self._argon2.check_needs_rehash(known)

    def close(self) -> None:
        """End the threads."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _verify(self, password: str, known: str) -> bool:
        try:
            return self._argon2.verify(known, normalised(password))
        except argon2.exceptions.VerifyMismatchError:
            return False

    async def _run(self, work: Callable[[], Result]) -> Result:
        with HASH_SECONDS.time():
            return await asyncio.get_running_loop().run_in_executor(self._threads, work)
