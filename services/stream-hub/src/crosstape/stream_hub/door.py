"""The door: who is let in, what they are told, and how everybody is shown out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine
from http import HTTPStatus
from typing import Any

import structlog
from picows import WSUpgradeRequest, WSUpgradeResponse, WSUpgradeResponseWithListener, ws_create_server
from prometheus_client import Gauge

from crosstape.common.errors import Forbidden, PlatformError, Unauthenticated
from crosstape.common.identity.authenticator import Authenticator
from crosstape.common.identity.internal import InternalTokens
from crosstape.common.identity.principal import Principal, Scope
from crosstape.common.runtime.lifecycle import listen
from crosstape.common.web.errors import error_body
from crosstape.common.web.origin import check_origin
from crosstape.stream_hub.connection import Connection, Session
from crosstape.stream_hub.fanout import Outbox
from crosstape.stream_hub.handshake import Hello, read_hello
from crosstape.stream_hub.limits import Admissions
from crosstape.stream_hub.protocol import MOST_MESSAGE_BYTES

log = structlog.get_logger(__name__)

OPEN = Gauge("crosstape_hub_sockets", "Open sockets")
LOOK_SECONDS = 1.0
LOOKS_AT_ONCE = 500
"""Sockets that are looked at in one step: some half a millisecond, which trades may have to wait."""
TIMER_SECONDS = 0.001
"""The loop's timers are no finer: of many sockets some are closed at once, so that the clock is kept."""
BACKLOG = 4096

MakeSession = Callable[[Connection], Session]


class Door:
    """All sockets. `run` listens, looks after them once a second, and at the end asks them to connect elsewhere."""

    def __init__(
        self,
        outbox: Outbox,
        admissions: Admissions,
        authenticator: Authenticator,
        tokens: InternalTokens,
        make_session: MakeSession,
        *,
        anonymous_read: bool,
        most_backlog: int,
        allowed_origins: Collection[str] = (),
    ):
        self.outbox = outbox
        self.most_backlog = most_backlog
        self._admissions = admissions
        self._authenticator = authenticator
        self._tokens = tokens
        self._make_session = make_session
        self._anonymous_read = anonymous_read
        self._allowed_origins = allowed_origins
        self._connections: dict[Connection, None] = {}
        self._group: asyncio.TaskGroup | None = None
        self._is_draining = False
        self.port = 0

    async def run(self, host: str, port: int, stop: asyncio.Event, drain_seconds: float) -> None:
        """Serve until `stop`, then close every socket with 1012, spread over `drain_seconds`."""
        server = await ws_create_server(
            self._listener,
            sock=listen(host, port),
            websocket_handshake_timeout=5,
            enable_auto_ping=False,
            enable_auto_pong=False,  # `Connection` counts pings before it answers them
            use_aiofastnet=True,
            max_frame_size=MOST_MESSAGE_BYTES,
            read_buffer_init_size=2_048,
            logger_name=logging.LoggerAdapter(logging.getLogger("picows.hub"), {}),  # a Logger makes one per socket
            backlog=BACKLOG,
        )
        self.port = server.sockets[0].getsockname()[1]
        log.info("streams_open", host=host, port=self.port)
        async with asyncio.TaskGroup() as group:
            self._group = group
            looking = group.create_task(self._look())
            await stop.wait()
            server.close()
            self._is_draining = True
            await self._drain(drain_seconds)
            looking.cancel()
        self._group = None

    def spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Work that ends with the door at the latest."""
        if self._group is None:
            raise RuntimeError("the door is closed")
        return self._group.create_task(work)

    async def _look(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            now = loop.time()
            for number, connection in enumerate(list(self._connections), 1):
                connection.look(now)
                if number % LOOKS_AT_ONCE == 0:
                    await asyncio.sleep(0)

    async def _drain(self, seconds: float) -> None:
        leaving, loop = list(self._connections), asyncio.get_running_loop()
        began = loop.time()
        for number, connection in enumerate(leaving, 1):
            connection.restart()
            wait = began + seconds * number / len(leaving) - loop.time()
            await asyncio.sleep(wait if wait > TIMER_SECONDS else 0)

    def restart_streams(self) -> None:
        """What was sent cannot be followed by what comes next: whoever was promised that connects again and asks."""
        for connection in list(self._connections):
            if connection.hello.path[0] != "books":
                connection.restart()

    # --- coming

    def _listener(self, request: WSUpgradeRequest) -> WSUpgradeResponseWithListener:
        """picows' question: who answers this upgrade request."""
        headers = request.headers
        if "upgrade" in [word.strip().lower() for word in headers.get("Connection", "").split(",")]:
            headers["Connection"] = "upgrade"  # Firefox says `keep-alive, Upgrade`, which picows does not know
        try:
            hello = read_hello(request.path, headers)
            address = self._address(hello)
            if not hello.identity:  # the gateway has looked
                check_origin(headers.getall("Origin", []), headers.get("Host", ""), self._allowed_origins)
        except PlatformError as error:
            return WSUpgradeResponseWithListener(_refusal(error), None)
        except ValueError:
            return WSUpgradeResponseWithListener(_refusal(PlatformError("The request cannot be read.")), None)
        accepted = {
            name: value
            for name, value in (
                ("Sec-WebSocket-Protocol", hello.subprotocol),
                ("Sec-WebSocket-Extensions", hello.extension),
            )
            if value
        }
        response = WSUpgradeResponse.create_101_response(accepted)
        return WSUpgradeResponseWithListener(response, Connection(hello, self, address))

    def _address(self, hello: Hello) -> str:
        """The client's address as the gateway knows it; empty where the socket's own counts. Raises Unauthenticated."""
        return self._tokens.verify(hello.identity).address if hello.identity else ""

    def admit(self, connection: Connection) -> None:
        """A socket has opened; one whose handshake was under way when the hub stops ends at once. Raises TooMany."""
        self._admissions.admit(connection.address)
        self._connections[connection] = None
        OPEN.set(len(self._connections))
        if self._is_draining:
            connection.restart()

    def admit_user(self, user_id: str) -> None:
        """A socket has said whose it is. Raises TooMany."""
        self._admissions.admit_user(user_id)

    def left(self, connection: Connection) -> None:
        """A socket is gone, or going."""
        if connection not in self._connections:
            return
        del self._connections[connection]
        OPEN.set(len(self._connections))
        self._admissions.release(connection.address)
        if connection.principal is not None:
            self._admissions.release_user(connection.principal.user_id)

    # --- rights

    async def authenticate(self, credential: str, connection: Connection) -> Principal:
        """Who shows `credential` on this socket.

        Raises Unauthenticated, ServiceUnavailable, and Forbidden: not for this route, or another or less than before.
        """
        principal = await self._authenticator.authenticate(credential)
        if connection.hello.path[0] != "books" and Scope.MARKET_READ not in principal.scopes:
            raise Forbidden("This credential lacks the scope market:read.", {"required_scope": "market:read"})
        before = connection.principal
        if before is not None and before.user_id != principal.user_id:
            raise Forbidden("This socket belongs to another account: open one of your own.")
        if before is not None and (lost := before.scopes - principal.scopes):
            lacking = ", ".join(sorted(lost))
            raise Forbidden(f"This socket's credential has scopes that the new one lacks: {lacking}.")
        return principal

    def may_begin(self, connection: Connection) -> bool:
        """Whether what is known of the client is enough for its route."""
        return connection.principal is not None or (connection.hello.path[0] == "books" and self._anonymous_read)

    def ended(self, principal: Principal) -> Unauthenticated | None:
        """Why the credential is not valid any more, if it is not."""
        try:
            self._authenticator.check(principal)
        except Unauthenticated as error:
            return error
        return None

    def session(self, connection: Connection) -> Session:
        """What serves the connection's route."""
        return self._make_session(connection)


def _refusal(error: PlatformError) -> WSUpgradeResponse:
    headers = {"Content-Type": "application/json", **error.headers}
    status = HTTPStatus(error.status if error.status != 500 else 400)
    response: WSUpgradeResponse = WSUpgradeResponse.create_error_response(status, error_body(error), headers)
    return response
