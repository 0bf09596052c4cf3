"""Transport: sends calls over HTTP, with the credential, the retries and the errors. It knows no route."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncIterator, Mapping
from importlib.metadata import version
from typing import Any, TypeVar
from urllib.parse import urlencode

import aiohttp
import msgspec
from yarl import URL

from crosstape.client.accounts import Tokens, refresh
from crosstape.client.calls import Call, RawAnswer
from crosstape.client.credentials import Credentials
from crosstape.client.errors import (
    PASSING,
    ApiError,
    ConnectionFailed,
    CrosstapeError,
    Unauthenticated,
    UnexpectedAnswer,
    api_error,
)
from crosstape.client.retry import request_pause

T = TypeVar("T")

CONNECT_SECONDS = 10.0
JSON = "application/json"
_CLOSING = aiohttp.ClientWSTimeout(ws_close=2.0)
_WHY = {429: b"Too many WebSockets, or requests, of your address or account."}
"""What a refused WebSocket's status means: aiohttp closes the answer before its body can be read."""
USER_AGENT = f"crosstape-client/{version('crosstape-client')}"


class Transport:
    """The connections to one platform. `timeout` is the longest silence within an answer, in seconds; `headers` go with
    every request."""

    def __init__(self, base_url: str, bearer: str | None, timeout: float, headers: Mapping[str, str]):
        self.base_url = base_url.rstrip("/")
        self.credentials = Credentials(bearer, lambda token: self._answer(refresh(token)))
        self._timeout = aiohttp.ClientTimeout(total=None, connect=CONNECT_SECONDS, sock_read=timeout)
        self._headers = {"User-Agent": USER_AGENT, **headers}
        self._session: aiohttp.ClientSession | None = None

    @property
    def session(self) -> aiohttp.ClientSession:
        """Opened at the first use, as it belongs to the loop that then runs."""
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=self._timeout, headers=self._headers)
        return self._session

    async def close(self) -> None:
        """Close every connection."""
        if self._session is not None:
            await self._session.close()

    async def call(self, call: Call[T]) -> T:
        """The answer to `call`. Raises ApiError, ConnectionFailed, UnexpectedAnswer."""
        answer = await self._answer(call)
        if isinstance(answer, Tokens):
            self.credentials.keep(answer)
        if call.ends_session:
            self.credentials.forget()
        return answer

    async def _answer(self, call: Call[T]) -> T:
        response = await self._open(call, JSON)
        try:
            return msgspec.json.decode(await response.read(), type=call.answer)
        except msgspec.MsgspecError as error:
            raise UnexpectedAnswer(f"{call.method} {call.path}: {error}") from error

    async def send(self, method: str, target: str, body: bytes | None) -> RawAnswer:
        """Send a request once, as it is given, and return what comes. Raises ConnectionFailed."""
        headers = {"Accept": JSON, **({} if body is None else {"Content-Type": JSON})}
        if bearer := await self.credentials.bearer():
            headers["Authorization"] = f"Bearer {bearer}"
        url = URL(self.base_url + target, encoded=True)
        began = time.monotonic()
        try:
            async with self.session.request(method, url, data=body, headers=headers, allow_redirects=False) as response:
                content = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionFailed(f"No answer from {self.base_url}: {_reason(error)}") from error
        seconds = time.monotonic() - began
        return RawAnswer(status=response.status, headers=response.headers, body=content, seconds=seconds)

    async def export(self, call: Call[Any], media_type: str) -> AsyncIterator[bytes]:
        """The answer as a file of `media_type`, piece by piece. Raises ConnectionFailed when it breaks off."""
        response = await self._open(call, media_type)
        try:
            async for piece in response.content.iter_any():
                yield piece
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionFailed(f"The export broke off: {_reason(error)}") from error
        finally:
            response.close()

    async def _open(self, call: Call[Any], accept: str) -> aiohttp.ClientResponse:
        """A good answer to `call`; a JSON one has been read whole."""
        attempt, is_renewed = 0, False
        while True:
            failure: CrosstapeError
            bearer, status, retry_after = None, 0, None
            try:
                bearer = None if call.is_anonymous else await self.credentials.bearer()
                response = await self._request(call, accept, bearer)
                if response.status < 300:
                    if accept == JSON:
                        await response.read()
                    return response
                failure = api_error(response.status, response.headers, await response.read())
                status, retry_after = response.status, failure.retry_after
                if isinstance(failure, Unauthenticated) and bearer and not is_renewed:
                    is_renewed = await self.credentials.renew(bearer)
                    if is_renewed:
                        continue
            except PASSING as error:  # of the refresh
                failure = error
                status, retry_after = (error.status, error.retry_after) if isinstance(error, ApiError) else (0, None)
            except (aiohttp.ClientError, TimeoutError) as error:
                failure = ConnectionFailed(f"No answer from {self.base_url}: {_reason(error)}")
                failure.__cause__ = error
            pause = request_pause(attempt, status, retry_after, random.random()) if call.is_repeatable else None
            if pause is None:
                raise failure
            attempt += 1
            await asyncio.sleep(pause)

    async def _request(self, call: Call[Any], accept: str, bearer: str | None) -> aiohttp.ClientResponse:
        headers = {"Accept": accept}
        if bearer:
            headers["Authorization"] = f"Bearer {bearer}"
        if call.body is not None:
            headers["Content-Type"] = JSON
        url = URL(self.base_url + call.target, encoded=True)
        return await self.session.request(call.method, url, data=call.content, headers=headers, allow_redirects=False)

    async def websocket(
        self, path: str, query: Mapping[str, str], bearer: str | None, heartbeat: float
    ) -> aiohttp.ClientWebSocketResponse:
        """A WebSocket that is pinged every `heartbeat` seconds. Raises ApiError if it is refused, ConnectionFailed."""
        headers = {"Authorization": f"Bearer {bearer}"} if bearer else {}
        url = URL(f"{self.base_url}{path}?{urlencode(query)}", encoded=True)
        try:
            return await self.session.ws_connect(url, headers=headers, heartbeat=heartbeat, timeout=_CLOSING)
        except aiohttp.WSServerHandshakeError as error:
            raise api_error(error.status, error.headers or {}, _WHY.get(error.status, b"")) from error
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ConnectionFailed(f"No answer from {self.base_url}: {_reason(error)}") from error


def _reason(error: Exception) -> str:
    return str(error) or type(error).__name__
