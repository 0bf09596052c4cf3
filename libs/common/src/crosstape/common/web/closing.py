"""What an app works with is closed once nobody asks it any more."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

from fastapi import FastAPI


def close_last(app: FastAPI, close: Callable[[], Awaitable[None]]) -> None:
    """Have `app` await `close` when it ends: after the work of its process, and after the last answer."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await close()

    app.router.lifespan_context = lifespan
