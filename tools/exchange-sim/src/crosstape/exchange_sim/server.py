"""One aiohttp server for all exchanges: `/{exchange}/{address}` and behind it the exchange's own path."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from aiohttp import WSMsgType, web

from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.faults import Faults
from crosstape.exchange_sim.replay.world import Replay
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.settings import SimConfig
from crosstape.exchange_sim.simulation import Simulation
from crosstape.exchange_sim.truth import Truth
from crosstape.exchange_sim.venues.dialect import Dialect
from crosstape.exchange_sim.world import World

PING_EVERY_S = 20.0
CLOSE_WITHIN_S = 1.0


class ExchangeServer:
    """Sockets and requests of one world."""

    def __init__(self, world: World, faults: Faults, clock: ExchangeClock) -> None:
        self.world = world
        self.faults = faults
        self.clock = clock
        self.sockets: set[web.WebSocketResponse] = set()

    def application(self) -> web.Application:
        application = web.Application()
        application.router.add_get("/livez", self.livez)
        application.router.add_routes(Truth(self.world, self.faults).routes())
        application.router.add_get("/{exchange}/{address}{path:(/.*)?}", self.exchange)
        application.on_shutdown.append(self.close_sockets)
        return application

    async def livez(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def exchange(self, request: web.Request) -> web.StreamResponse:
        exchange, address = request.match_info["exchange"], request.match_info["address"]
        dialect = self.world.dialects.get(exchange)
        if dialect is None:
            raise web.HTTPNotFound(text=f"no exchange {exchange} here")
        if request.headers.get("Upgrade", "").lower() == "websocket":
            return await self._socket(request, dialect, address)
        return self._request(request, dialect, address)

    def _request(self, request: web.Request, dialect: Dialect, address: str) -> web.Response:
        path = request.match_info["path"]
        status = self.faults.request_status(dialect.exchange)
        if status:
            refused = dialect.refused(status)
            headers = {"Retry-After": "1"} if status == 429 else {}
            return web.Response(body=refused.body, status=status, headers=headers, content_type="application/json")
        found = self.world.recorded_answer(dialect.exchange, address, path, request.query)
        found = found or dialect.rest(address, path, request.query, self.clock.told_now())
        return web.Response(
            body=found.body, status=found.status, headers=found.headers, content_type="application/json"
        )

    async def _socket(self, request: web.Request, dialect: Dialect, address: str) -> web.StreamResponse:
        socket = web.WebSocketResponse(heartbeat=PING_EVERY_S, compress=False, autoping=False)
        await socket.prepare(request)
        if request.transport is None:
            return socket
        session = Session(
            request.transport, self.faults, f"{dialect.exchange}/{address}", request.match_info["path"],
            dialect.spoil_pattern,
        )  # fmt: skip
        feed = self.world.feed(dialect.exchange)
        self.world.connections += 1
        self.sockets.add(socket)
        self.world.sessions.add(session)
        try:
            dialect.greet(session, request.query, feed, self.clock.told_now())
            session.flush(self.clock.now_ns())
            async for message in socket:
                if message.type is WSMsgType.TEXT:
                    dialect.receive(session, message.data, feed, self.clock.told_now())
                    session.flush(self.clock.now_ns())
                elif message.type is WSMsgType.PING and not session.is_stalled:
                    await socket.pong(message.data)
        finally:
            feed.leave(session)
            self.world.sessions.discard(session)
            self.sockets.discard(socket)
        return socket

    async def close_sockets(self, application: web.Application) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(CLOSE_WITHIN_S):
                await asyncio.gather(*(socket.close(code=1001) for socket in list(self.sockets)))


@dataclass(frozen=True, slots=True)
class RunningSim:
    """`address` is `http://127.0.0.1:PORT`. `time` is the task that lets the world's time pass: done only by an error,
    with which nothing moves any more.
    """

    address: str
    time: asyncio.Task[None]


@asynccontextmanager
async def running_sim(config: SimConfig) -> AsyncIterator[RunningSim]:
    """The simulator inside this process, for as long as the context lasts. Leaving it raises what ended its time."""
    faults = Faults(config.seed, config.faults)
    clock = ExchangeClock(faults)
    world: World = Replay(config, faults, clock) if config.recordings else Simulation(config, faults, clock)
    server = ExchangeServer(world, faults, clock)
    runner = web.AppRunner(server.application(), access_log=None, shutdown_timeout=CLOSE_WITHIN_S)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", config.port)
    await site.start()
    time = asyncio.create_task(world.run())
    try:
        port = runner.addresses[0][1]
        yield RunningSim(f"http://127.0.0.1:{port}", time)
    finally:
        time.cancel()
        try:
            await runner.cleanup()
            world.close()
        finally:
            with suppress(asyncio.CancelledError):
                await time
