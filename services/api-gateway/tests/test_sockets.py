"""WebSockets through the gateway: a real server behind it, a real client in front."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
import websockets
from websockets.asyncio.server import ServerConnection, serve

from crosstape.api_gateway import client_connection
from crosstape.common.identity.internal import HEADER, REFUSED, InternalTokens
from crosstape.common.identity.principal import Caller
from crosstape.common.testing.identity import INTERNAL_SECRET

asynchronous = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]


async def has_room(gateway: Any) -> bool:
    """Whether it takes one more socket from here."""
    try:
        async with websockets.connect(url(gateway, "/ws")):
            return True
    except websockets.InvalidStatus:
        return False


class Hub:
    """Echoes; obeys `close 4404`, `flood`, and paths under /refuse."""

    def __init__(self) -> None:
        self.handshakes: list[Any] = []
        self.codes: list[int | None] = []
        self.flooded = 0
        self.is_flooding = asyncio.Event()

    async def __call__(self, socket: ServerConnection) -> None:
        self.handshakes.append(socket.request)
        try:
            async for message in socket:
                if message == "flood":
                    await self._flood(socket)
                elif isinstance(message, str) and message.startswith("close "):
                    await socket.close(int(message.split()[1]), "as you like")
                else:
                    await socket.send(message)
        finally:
            self.codes.append(socket.close_code)

    async def _flood(self, socket: ServerConnection) -> None:
        self.is_flooding.set()
        for _ in range(4000):
            await socket.send(bytes(65_536))
            self.flooded += 65_536

    def request(self) -> Any:
        return self.handshakes[-1]


@pytest_asyncio.fixture(loop_scope="session")
async def hub() -> AsyncIterator[tuple[Hub, int]]:
    hub = Hub()

    def refuse(connection: ServerConnection, request: Any) -> Any:
        if "refuse" in request.path:
            body = {"success": False, "error_code": "FORBIDDEN", "message": "m", "details": {}, "timestamp": "t"}
            return connection.respond(403, json.dumps({**body, "detail": "m"}))
        return None

    def choose(connection: ServerConnection, offered: Any) -> Any:
        return "bearer" if "bearer" in offered else None

    async with serve(
        hub, "127.0.0.1", 0, process_request=refuse, max_size=None, subprotocols=["bearer"], select_subprotocol=choose
    ) as listening:  # type: ignore[list-item]
        yield hub, next(iter(listening.sockets)).getsockname()[1]


@pytest_asyncio.fixture(loop_scope="session")
async def opened(hub: Any, open_service: Any, open_gateway: Any) -> Any:
    _, history = await open_service()

    async def start(**changes: Any) -> tuple[Any, Hub]:
        sockets = f"http://127.0.0.1:{hub[1]}"
        usual = {"stream_hub_url": "http://127.0.0.1:1", "stream_hub_sockets_url": sockets, **changes}
        return await open_gateway(history.port, **usual), hub[0]

    return start


HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)


def url(gateway: Any, path: str) -> str:
    return f"ws://127.0.0.1:{gateway.server.port}{path}"


class TestTunnel:
    pytestmark = asynchronous

    async def test_messages_pass_both_ways_whatever_they_are(self, opened: Any) -> None:
        gateway, _ = await opened()
        async with websockets.connect(url(gateway, "/ws"), max_size=None) as socket:
            for message in ("text", b"\x00\xff", "x" * 300_000, "", "ünï"):
                await socket.send(message)
                assert await socket.recv() == message
            await socket.send(["in ", "several ", "frames"])
            assert await socket.recv() == "in several frames"
            await (await socket.ping())

    async def test_websockets_have_a_count_of_their_own(self, opened: Any) -> None:
        gateway, _ = await opened(connections_per_address=1, sockets_per_address=2)
        async with websockets.connect(url(gateway, "/ws")), websockets.connect(url(gateway, "/ws")):
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url(gateway, "/ws"))
        assert refused.value.response.status_code == 429

    async def test_each_end_sees_what_the_other_asked_for(self, opened: Any) -> None:
        gateway, hub = await opened()
        path = "/ws/v1/cvd/binance/BTC%2FUSDT?interval=1m&token=secret"
        headers = {
            "Authorization": "Bearer ctk_x", "X-Crosstape-Identity": "forged", "X-Forwarded-For": "6.6.6.6",
            "X-Request-ID": "trace-7", "Cookie": "a=b",
        }  # fmt: skip
        async with websockets.connect(
            url(gateway, path),
            additional_headers=headers,
            subprotocols=["bearer", "token-1"],  # type: ignore[list-item]
        ) as socket:
            assert socket.subprotocol == "bearer"
            assert socket.response.headers["X-Request-ID"] == "trace-7"
            assert int(socket.response.headers["RateLimit-Remaining"]) > 0
            assert "permessage-deflate" in socket.response.headers["Sec-WebSocket-Extensions"]
        request = hub.request()
        assert request.path == "/ws/v1/cvd/binance/BTC%2FUSDT?interval=1m&token=secret"
        assert request.headers["Authorization"] == "Bearer ctk_x", "the hub verifies it itself"
        assert request.headers["Sec-WebSocket-Protocol"] == "bearer, token-1"
        assert request.headers["X-Request-ID"] == "trace-7"
        assert not {"X-Forwarded-For", "Cookie", "Origin"} & set(request.headers)
        caller = InternalTokens("stream-hub", [INTERNAL_SECRET]).verify(request.headers[HEADER])
        assert caller == Caller("api-gateway", None, "127.0.0.1")

    async def test_closing_codes_pass_both_ways(self, opened: Any, eventually: Any) -> None:
        gateway, hub = await opened()
        async with websockets.connect(url(gateway, "/ws")) as socket:
            await socket.send("close 4404")
            with pytest.raises(websockets.ConnectionClosed):
                await socket.recv()
            assert (socket.close_code, socket.close_reason) == (4404, "as you like")
        async with websockets.connect(url(gateway, "/ws")) as socket:
            await socket.close(4001)

        async def hub_saw_it() -> bool:
            return 4001 in hub.codes

        await eventually(hub_saw_it)

    async def test_a_client_that_reads_nothing_holds_the_hub_back_and_is_cut(
        self, opened: Any, eventually: Any
    ) -> None:
        gateway, hub = await opened(client_stall_seconds=0.5)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port, limit=1024)
        writer.write(HANDSHAKE)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        writer.write(b"\x81\x85\0\0\0\0flood")
        await asyncio.wait_for(hub.is_flooding.wait(), 30)

        async def hub_was_told() -> bool:
            return bool(hub.codes)

        await eventually(hub_was_told)
        assert hub.flooded < 64 * 1024 * 1024, "what sockets hold, not all 256 MiB of it"
        writer.transport.abort()

    async def test_a_client_that_leaves_ends_the_hubs_side_and_makes_room(self, opened: Any, eventually: Any) -> None:
        gateway, hub = await opened(sockets_per_address=1)
        socket = await websockets.connect(url(gateway, "/ws"))
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url(gateway, "/ws"))
        assert refused.value.response.status_code == 429
        assert refused.value.response.headers["Retry-After"]
        socket.transport.abort()
        await eventually(lambda: has_room(gateway))
        assert hub.codes[0] in (1005, 1006)

    async def test_a_page_of_another_origin_may_not(self, opened: Any) -> None:
        gateway, hub = await opened(cors_origins="https://desk.example/")
        here = f"http://127.0.0.1:{gateway.server.port}"
        for origin, may in (
            ("https://evil.example", False), ("null", False), ("https://desk.example.evil", False),
            ("https://desk.example", True), (here, True), (None, True),
        ):  # fmt: skip
            if may:
                async with websockets.connect(url(gateway, "/ws"), origin=origin):  # type: ignore[arg-type]
                    pass
            else:
                with pytest.raises(websockets.InvalidStatus) as refused:
                    await websockets.connect(url(gateway, "/ws"), origin=origin)  # type: ignore[arg-type]
                response = refused.value.response
                assert response.status_code == 403
                assert json.loads(response.body or b"")["error_code"] == "FORBIDDEN"
        assert len(hub.handshakes) == 3

    async def test_without_a_handshake_it_is_an_ordinary_error(self, opened: Any) -> None:
        gateway, hub = await opened()
        reply = await gateway.ask("/ws")
        assert (reply.status, reply.json["error_code"]) == (422, "VALIDATION_ERROR")
        assert (await gateway.ask("/ws", "POST")).status == 405
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url(gateway, "/exchanges"))
        assert refused.value.response.status_code == 200, "an answer, no socket"
        assert hub.handshakes == []

    async def test_the_hubs_refusal_is_passed_on_and_its_absence_is_503(
        self, opened: Any, open_service: Any, open_gateway: Any
    ) -> None:
        gateway, _ = await opened()
        with pytest.raises(websockets.InvalidStatus) as refused:
            await websockets.connect(url(gateway, "/ws/v1/cvd/refuse/BTC-USD"))
        assert refused.value.response.status_code == 403
        assert json.loads(refused.value.response.body or b"")["message"] == "m"
        _, history = await open_service()
        for away in ({"stream_hub_url": "http://127.0.0.1:1"}, {}):
            alone = await open_gateway(history.port, **away)
            with pytest.raises(websockets.InvalidStatus) as refused:
                await websockets.connect(url(alone, "/ws"))
            response = refused.value.response
            assert response.status_code == 503
            assert json.loads(response.body or b"")["details"] == {"service": "stream-hub"}
            assert (await alone.ask("/exchanges")).status == 200

    async def test_what_a_client_sends_with_its_handshake_is_not_lost(self, opened: Any) -> None:
        gateway, _ = await opened()
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
        writer.write(HANDSHAKE + b"\x81\x82\0\0\0\0hi")
        async with asyncio.timeout(5):
            await reader.readuntil(b"\r\n\r\n")
            assert await reader.readexactly(4) == b"\x81\x02hi"
        writer.close()

    async def test_a_client_that_is_cut_at_its_handshake_leaves_its_place(
        self, opened: Any, eventually: Any, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """It said more, before anybody listened, than is kept."""
        gateway, hub = await opened(sockets_per_address=1)
        monkeypatch.setattr(client_connection, "_MOST_EARLY", 100)
        reader, writer = await asyncio.open_connection("127.0.0.1", gateway.server.port)
        writer.write(HANDSHAKE + bytes(1000))
        async with asyncio.timeout(5):
            with suppress(ConnectionResetError):
                assert await reader.read() == b""
        await eventually(lambda: has_room(gateway))

        async def hub_was_told() -> bool:
            return len(hub.codes) == len(hub.handshakes)

        await eventually(hub_was_told)

    async def test_a_hub_that_does_not_end_its_refusal_is_not_waited_for(
        self, open_gateway: Any, misbehaving: Any
    ) -> None:
        service, port = misbehaving
        unfinished = b"HTTP/1.1 403 Forbidden\r\ncontent-length: 10\r\n\r\n"
        service.script = lambda head, connection, request: [unfinished]
        gateway = await open_gateway(
            port, stream_hub_url=f"http://127.0.0.1:{port}", request_deadline_seconds=0.2, health_interval_seconds=60
        )
        async with asyncio.timeout(5):
            assert (await gateway.raw(HANDSHAKE)).status == 504

    async def test_a_hub_that_does_not_believe_the_gateway_is_to_blame_and_not_the_caller(
        self, open_gateway: Any, misbehaving: Any
    ) -> None:
        service, port = misbehaving
        head = f"HTTP/1.1 401 Unauthorized\r\n{HEADER}: {REFUSED}\r\ncontent-length: 2\r\n\r\n{{}}".encode()
        service.script = lambda request, connection, number: [head]
        gateway = await open_gateway(port, stream_hub_url=f"http://127.0.0.1:{port}", health_interval_seconds=60)
        async with asyncio.timeout(5):
            reply = await gateway.raw(HANDSHAKE)
        assert (reply.status, reply.json["details"]) == (503, {"service": "stream-hub"})

    async def test_when_the_gateway_ends_its_sockets_do(self, opened: Any, open_service: Any) -> None:
        gateway, _ = await opened()
        async with aiohttp.ClientSession() as session, session.ws_connect(url(gateway, "/ws")) as socket:
            await socket.send_str("hello")
            assert (await socket.receive()).data == "hello"
            stopping = asyncio.create_task(gateway.server.stop())
            assert (await socket.receive(timeout=30)).type in (aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSE)
        await asyncio.wait_for(stopping, 30)
