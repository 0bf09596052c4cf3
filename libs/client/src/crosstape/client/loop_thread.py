"""An event loop in a thread of its own, for callers that have none."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Coroutine, Iterator
from concurrent.futures import CancelledError
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Runs coroutines for blocking callers, of any thread, until it is closed. A process that was forked does not have
    the thread: there it can only be closed."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._work, name="crosstape-client", daemon=True)
        self._thread.start()
        self._lock = threading.Lock()
        self.is_closed = False

    def _work(self) -> None:
        self._loop.run_forever()
        self._loop.close()

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """The result of `work`. An interrupt of the caller (Ctrl-C) cancels it. Raises RuntimeError once closed, also
        in a call that another thread is in then, and in a process that was forked."""
        with self._lock:
            if self.is_closed or not self._thread.is_alive():
                work.close()
                raise _closed() if self.is_closed else _forked()
            future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except CancelledError:
            if self.is_closed:
                raise _closed() from None
            raise
        except BaseException:
            future.cancel()
            raise

    def close(self, last: Coroutine[Any, Any, None]) -> None:
        """Run `last`, end whatever else runs, and the thread; return then, but in that thread itself (garbage is
        collected anywhere) at once. Once is enough."""
        with self._lock:
            was_closed, self.is_closed = self.is_closed, True
            if was_closed or not self._thread.is_alive():
                last.close()
                return
        ending = asyncio.run_coroutine_threadsafe(_end(last), self._loop)
        ending.add_done_callback(lambda _: self._loop.call_soon_threadsafe(self._loop.stop))
        if threading.current_thread() is not self._thread:
            self._thread.join()
            ending.result()

    def iterate(self, items: AsyncIterator[T]) -> Iterator[T]:
        """The items of an asynchronous generator."""
        while True:
            try:
                item = self.run(_next(items))
            except StopAsyncIteration:
                return
            yield item


def _closed() -> RuntimeError:
    return RuntimeError("The client is closed.")


def _forked() -> RuntimeError:
    return RuntimeError("The client was made before this process was forked: make one in each process.")


async def _end(last: Coroutine[Any, Any, None]) -> None:
    await last
    others = asyncio.all_tasks() - {asyncio.current_task()}
    for task in others:
        task.cancel()
    await asyncio.gather(*others, return_exceptions=True)


async def _next(items: AsyncIterator[T]) -> T:
    return await anext(items)
