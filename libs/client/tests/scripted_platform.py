"""A scripted platform on a real port: it answers HTTP requests as it is told, and keeps what it was asked."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web


@dataclass
class Answer:
    """What is said to one request: a JSON body, or `raw` bytes; `cut` breaks the connection off behind them."""

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    raw: bytes | None = None
    cut: bool = False

    @property
    def content(self) -> bytes:
        return json.dumps(self.body).encode() if self.raw is None else self.raw


def refusal(status: int, error_code: str, *, details: Any = None, headers: Mapping[str, str] | None = None) -> Answer:
    """The contract's error body."""
    body = {
        "success": False,
        "error_code": error_code,
        "message": f"{error_code} it is.",
        "details": details or {},
        "timestamp": "2025-11-13T10:30:45.123Z",
        "detail": f"{error_code} it is.",
    }
    return Answer(body, status, {"X-Request-ID": "req-1", **(headers or {})})


@dataclass
class Asked:
    """A request as it came."""

    method: str
    target: str
    bearer: str
    accept: str
    body: bytes


Script = Callable[[Asked], Answer]
Serve = Callable[[web.Request], Awaitable[web.StreamResponse]]


class ScriptedPlatform:
    """Answers with what was queued for "METHOD /path", in order, the last one for ever; or by a function."""

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self._answers: dict[str, deque[Answer] | Script] = {}
        self._sockets: dict[str, Serve] = {}
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._answer)
        self._runner = web.AppRunner(app, shutdown_timeout=0.1)
        self.url = ""

    def serve(self, path: str, serve: Serve) -> None:
        """Accept WebSockets on `path` and leave them to `serve`."""
        self._sockets[path] = serve

    def on(self, route: str, *answers: Answer) -> None:
        """Answer `route` with these, one after the other."""
        self._answers[route] = deque(answers)

    def script(self, route: str, script: Script) -> None:
        """Answer `route` as `script` says."""
        self._answers[route] = script

    def targets(self) -> list[str]:
        """What was asked for, path and query."""
        return [asked.target for asked in self.asked]

    async def start(self, port: int = 0) -> None:
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", port)
        await site.start()
        host, port = self._runner.addresses[0][:2]
        self.url = f"http://{host}:{port}"

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        asked = Asked(
            request.method,
            request.raw_path,
            request.headers.get("Authorization", "").removeprefix("Bearer "),
            request.headers.get("Accept", ""),
            await request.read(),
        )
        self.asked.append(asked)
        if serve := self._sockets.get(request.path):
            return await serve(request)
        script = self._answers.get(f"{asked.method} {asked.target.partition('?')[0]}")
        if script is None:
            answer = refusal(404, "NOT_FOUND")
        elif isinstance(script, deque):
            answer = script.popleft() if len(script) > 1 else script[0]
        else:
            answer = script(asked)
        response = web.StreamResponse(status=answer.status, headers=answer.headers)
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(answer.content)
        if answer.cut:
            assert request.transport is not None
            request.transport.abort()
        else:
            await response.write_eof()
        return response
