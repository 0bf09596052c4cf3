"""The handshake of a WebSocket: who may, where it goes, and what the client is told when it cannot be."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from starlette.types import Scope, Send

from crosstape.api_gateway.failures import (
    UpstreamFailed,
    identity_refused,
    is_contract_error,
    is_identity_refusal,
    replacement,
    too_slow,
    unreachable,
)
from crosstape.api_gateway.guests import PerNetwork
from crosstape.api_gateway.headers import Header, to_client, to_socket_service
from crosstape.api_gateway.metrics import SOCKETS
from crosstape.api_gateway.passage import LARGEST_ERROR, target_of
from crosstape.api_gateway.service_connection import Broken, ServiceConnection
from crosstape.api_gateway.settings import GatewaySettings
from crosstape.api_gateway.trial import Trial
from crosstape.api_gateway.tunnel import Tunnel
from crosstape.api_gateway.turn import Turn, turn_of
from crosstape.api_gateway.upstream import Upstream, read_body
from crosstape.common.errors import RateLimited, ValidationFailed
from crosstape.common.identity.address import network_of
from crosstape.common.identity.principal import Caller
from crosstape.common.web.origin import check_origin

_SWITCHING = 101


class Sockets:
    """Opens WebSockets to a service, and counts them."""

    def __init__(self, settings: GatewaySettings):
        self._settings = settings
        self._count = PerNetwork(settings.sockets_per_address)
        SOCKETS.set_function(lambda: self._count.total)

    async def open(self, upstream: Upstream, path: str, caller: Caller, scope: Scope, send: Send) -> None:
        """Join the client and the service's `path`, which looks at the client's credential itself.

        Returns when they are joined, or when the service's own refusal has been sent. Raises PlatformError.
        """
        turn = turn_of(scope)
        if not turn.wants_socket:
            raise ValidationFailed("This is a WebSocket: connect to it with ws:// or wss://.")
        headers = scope["headers"]
        check_origin(_texts(headers, b"origin"), "".join(_texts(headers, b"host")), self._settings.cors_origins)
        network = network_of(caller.address)
        if not self._count.has_room(network):
            raise RateLimited("There are too many WebSockets from your address: close one.", 5)
        self._count.add(network)
        is_joined = False
        try:
            with Trial(upstream, turn.request_id) as trial:
                connection = await self._ask(upstream, path, caller, scope, trial, send)
                if connection and turn.line.transport.is_closing():
                    connection.abort()
                elif connection:
                    self._join(turn, connection, network)
                    is_joined = True
        finally:
            if not is_joined:
                self._count.remove(network)

    async def _ask(
        self, upstream: Upstream, path: str, caller: Caller, scope: Scope, trial: Trial, send: Send
    ) -> ServiceConnection | None:
        """The connection that has become a WebSocket, None when the service's refusal of it has been sent."""
        headers = to_socket_service(scope["headers"])
        headers.append((b"x-request-id", turn_of(scope).request_id.encode()))
        seconds = self._settings.request_deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                connection = await upstream.switch(target_of(path, scope), headers, caller)
                if connection.status != _SWITCHING:
                    await _pass_refusal(upstream, connection, trial, send)
                    return None
        except Broken as error:
            raise unreachable(upstream.name) from error
        except TimeoutError as error:
            raise too_slow(upstream.name, seconds) from error
        trial.is_answered = True
        return connection

    def _join(self, turn: Turn, connection: ServiceConnection, network: str) -> None:
        def end(tunnel: Tunnel) -> None:
            turn.line.disown(tunnel)
            self._count.remove(network)

        tunnel = Tunnel(self._settings.client_stall_seconds, end)
        client, early = turn.switch(to_client(connection.headers))
        turn.line.adopt(tunnel)
        tunnel.join(client, connection.transport, (early, connection.early))


def _texts(headers: Iterable[Header], wanted: bytes) -> list[str]:
    return [value.decode("latin-1") for name, value in headers if name == wanted]


async def _pass_refusal(upstream: Upstream, connection: ServiceConnection, trial: Trial, send: Send) -> None:
    try:
        if is_identity_refusal(connection.headers):
            raise identity_refused(upstream.name)
        body = await read_body(connection, LARGEST_ERROR) or b""
    finally:
        connection.abort()
    if connection.status < 400 or not is_contract_error(body):
        answer = replacement(upstream.name, connection.status)
        trial.is_answered = not isinstance(answer, UpstreamFailed)
        raise answer
    trial.has_begun = trial.is_answered = True
    headers = to_client(connection.headers)
    await send({"type": "http.response.start", "status": connection.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
