"""How a process runs: its background work and its HTTP port in one task group, signals, and a drain with a deadline."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any

import structlog
import uvicorn
import uvloop

from crosstape.common.errors import PlatformError, WrongSetting
from crosstape.common.runtime.logging import configure_logging
from crosstape.common.runtime.metrics import tell_build, watch_loop
from crosstape.common.runtime.process import allow_files, settle
from crosstape.common.runtime.settings import ServiceSettings
from crosstape.common.runtime.telemetry import exported
from crosstape.common.waiting import unless_stopped

log = structlog.get_logger(__name__)

Work = Callable[[asyncio.Event], Awaitable[None]]
"""Background work: runs until it is told to stop by the event, drains, returns. What it raises ends the process."""


BACKLOG = 2048
HTTP = "httptools"
"""uvicorn's stricter parser: it refuses requests that two readers could understand differently."""

_Built = tuple[Any, Sequence[Work]]


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Signals belong to the process, not to its server."""
        yield


async def run_until_stopped(
    settings: ServiceSettings,
    app: Any,
    work: Sequence[Work],
    stop: asyncio.Event,
    listener: socket.socket,
    http: Any = HTTP,
) -> None:
    """Serve `app` on `listener` and do `work` until `stop` is set or a part fails; then drain within the deadline.

    `http` is what uvicorn makes the protocol of a connection with. Work stops first, so that what is in hand takes
    effect; the port answers (not ready) until the end, and what the app needs for that is closed by its lifespan.
    """
    server = _Server(
        uvicorn.Config(
            app,
            http=http,
            loop="none",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            date_header=True,
            timeout_keep_alive=30,
        )
    )
    loop = asyncio.get_running_loop()
    failures: list[Exception] = []
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(_serve(server, listener, stop), name="http")
        group.create_task(watch_loop(stop), name="loop lag")
        working = [group.create_task(_supervised(part, stop, failures), name="work") for part in work]
        await stop.wait()
        log.info("draining", deadline_seconds=settings.shutdown_seconds)
        deadline = loop.time() + settings.shutdown_seconds
        if working:
            _, late = await asyncio.wait(working, timeout=settings.shutdown_seconds)
            for task in late:
                log.error("drain_overran", task=task.get_name())
                task.cancel()
        server.config.timeout_graceful_shutdown = max(1, int(deadline - loop.time()))
        server.should_exit = True
        await serving
    if failures:
        raise ExceptionGroup("work failed", failures)


async def _serve(server: uvicorn.Server, listener: socket.socket, stop: asyncio.Event) -> None:
    try:
        await server.serve(sockets=[listener])
    except SystemExit as error:  # uvicorn's word for an application whose lifespan failed; it has logged why
        raise RuntimeError("the application did not start") from error
    finally:
        stop.set()


async def _supervised(part: Work, stop: asyncio.Event, failures: list[Exception]) -> None:
    """A part that fails stops the others in order, as SIGTERM does, instead of tearing them down."""
    try:
        await part(stop)
    except Exception as failure:  # noqa: BLE001 - raised again once everything has stopped
        failures.append(failure)
    finally:
        stop.set()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens: of IPv4 where `host` is a name of both kinds, and on every such address where it is empty;
    `::` is all addresses of both kinds. Raises OSError when the port is taken, or there is no such host."""
    found = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    family, kind, protocol, _, address = min(found, key=lambda one: one[0] != socket.AF_INET)
    listener = socket.socket(family, kind, protocol)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        if family == socket.AF_INET6:
            listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        listener.bind(address)
        listener.listen(BACKLOG)  # until then another process could bind the same port
    except OSError:
        listener.close()
        raise
    return listener


def run_service(
    name: str,
    settings: ServiceSettings,
    build: Callable[[asyncio.Event], Awaitable[_Built]],
    http: Any = HTTP,
) -> None:
    """The whole life of a process. `build` makes its ASGI app and its background work, inside the event loop. Its
    last spans are sent when all of that has ended.

    `http` as for `run_until_stopped`. Exits 0 after a drain that SIGTERM or SIGINT asked for, 1 with one log line when
    the port is taken or a part failed.
    """
    configure_logging(name, level=settings.log_level, log_format=settings.log_format)
    try:
        listener = listen(settings.host, settings.port)
    except OSError as error:
        log.error("port_unavailable", host=settings.host, port=settings.port, error=error.strerror)
        sys.exit(1)
    tell_build(name)
    allow_files()
    try:
        with exported(name, settings):
            uvloop.run(_main(settings, build, listener, http))
    except Exception as failure:
        if (foreseen := _foreseen(failure)) is not None:
            details = foreseen.details if isinstance(foreseen, PlatformError) else {}
            log.error("process_failed", reason=str(foreseen), **details)
        else:
            log.exception("process_failed", exc_info=failure)
        sys.exit(1)


def _foreseen(failure: Exception) -> PlatformError | WrongSetting | None:
    """The one sentence for an operator, where the program has one (an unknown symbol in its settings, say). Of parts
    that failed together, the first one's, unless another failed for a reason without one."""
    if isinstance(failure, ExceptionGroup):
        found = [_foreseen(part) for part in failure.exceptions]
        return None if None in found else found[0]
    return failure if isinstance(failure, PlatformError | WrongSetting) else None


async def _main(
    settings: ServiceSettings,
    build: Callable[[asyncio.Event], Awaitable[_Built]],
    listener: socket.socket,
    http: Any,
) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    built = await unless_stopped(stop, build(stop))
    if built is None:
        log.info("stopped")
        return
    app, work = built
    settle()
    log.info("serving", host=settings.host, port=listener.getsockname()[1])
    await run_until_stopped(settings, app, work, stop, listener, http)
    log.info("stopped")
