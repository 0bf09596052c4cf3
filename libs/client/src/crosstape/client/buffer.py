"""A bounded buffer between the socket's reader and the consumer: a slow consumer makes the reader wait."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Generic, TypeVar

T = TypeVar("T")


class Buffer(Generic[T]):
    """First in, first out; ends with `finish`, after what is still in it. One reader, one consumer."""

    def __init__(self, size: int):
        self._size = size
        self._items: deque[T] = deque()
        self._is_over = False
        self._error: BaseException | None = None
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    async def put(self, item: T) -> None:
        """Add `item` once there is room."""
        while len(self._items) >= self._size:
            self._emptied.clear()
            await self._emptied.wait()
        self._items.append(item)
        self._filled.set()

    def finish(self, error: BaseException | None) -> None:
        """Nothing follows: consumers get `error` behind the last item, or the end. The first call counts."""
        if not self._is_over:
            self._is_over, self._error = True, error
            self._filled.set()

    async def get(self) -> T:
        """The oldest item. A cancelled call takes none. Raises the error of `finish` once, then StopAsyncIteration."""
        while not self._items:
            if self._is_over:
                error, self._error = self._error, None
                raise StopAsyncIteration if error is None else error
            self._filled.clear()
            await self._filled.wait()
        self._emptied.set()
        return self._items.popleft()
