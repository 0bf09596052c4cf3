"""What most Python gateways are: a catch-all FastAPI route and an HTTP client, as their documentation says.

Served by uvicorn with uvloop and httptools: `uvicorn bench.peer_proxies:with_aiohttp`, `...:with_httpx`. `UPSTREAM` is
the service's origin. Neither knows who calls, nor limits anything.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
from fastapi import FastAPI, Request, Response

UPSTREAM = os.environ.get("UPSTREAM", "")
_HOP = {"host", "connection", "transfer-encoding", "content-length"}


def _kept(headers: Any) -> dict[str, str]:
    return {name: value for name, value in headers.items() if name.lower() not in _HOP}


@asynccontextmanager
async def _aiohttp(app: FastAPI) -> AsyncIterator[None]:
    connector = aiohttp.TCPConnector(limit=128)
    async with aiohttp.ClientSession(UPSTREAM, connector=connector, auto_decompress=False) as session:
        app.state.session = session
        yield


with_aiohttp = FastAPI(lifespan=_aiohttp)


@with_aiohttp.get("/{path:path}")
async def _by_aiohttp(path: str, request: Request) -> Response:
    session: aiohttp.ClientSession = request.app.state.session
    async with session.get(f"/{path}", params=request.query_params, headers=_kept(request.headers)) as answer:
        return Response(await answer.read(), answer.status, _kept(answer.headers))


@asynccontextmanager
async def _httpx(app: FastAPI) -> AsyncIterator[None]:
    import httpx  # noqa: PLC0415 - only this contender needs it

    limits = httpx.Limits(max_connections=128, max_keepalive_connections=128)
    async with httpx.AsyncClient(base_url=UPSTREAM, limits=limits, trust_env=False) as client:
        app.state.client = client
        yield


with_httpx = FastAPI(lifespan=_httpx)


@with_httpx.get("/{path:path}")
async def _by_httpx(path: str, request: Request) -> Response:
    headers = _kept(request.headers)
    answer = await request.app.state.client.get(f"/{path}", params=request.query_params, headers=headers)
    return Response(answer.content, answer.status_code, _kept(answer.headers))
