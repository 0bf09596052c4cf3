"""A small service, run as a process by test_lifecycle.py: `python service_under_test.py WORK`."""

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from crosstape.common import tracing
from crosstape.common.bus.refusal import BrokerRefused
from crosstape.common.runtime.health import Health
from crosstape.common.runtime.lifecycle import Work, run_service
from crosstape.common.runtime.settings import ServiceSettings
from crosstape.common.web.closing import close_last
from crosstape.common.web.errors import install_error_handlers
from crosstape.common.web.operations import operations_routes
from crosstape.common.web.request_context import RequestContext


def released_by_signal() -> asyncio.Event:
    """Set by SIGUSR1."""
    released = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, released.set)
    return released


async def idle(stop: asyncio.Event) -> None:
    await stop.wait()


async def drains(stop: asyncio.Event) -> None:
    """Goes on until SIGUSR1."""
    released = released_by_signal()
    await stop.wait()
    await released.wait()
    print("work finished", flush=True)


async def fails(stop: asyncio.Event) -> None:
    raise ValueError("the work is wrong")


async def is_refused(stop: asyncio.Event) -> None:
    async def connect(client: str) -> None:
        raise BrokerRefused(f"the broker does not let the {client} in")

    async with asyncio.TaskGroup() as group:
        for client in ("first", "second"):
            group.create_task(connect(client))


async def overruns(stop: asyncio.Event) -> None:
    await asyncio.sleep(3600)


async def ends(stop: asyncio.Event) -> None:
    return


async def traces(stop: asyncio.Event) -> None:
    with tracing.trace("some work"):
        print(f"ending {'with' if 'opentelemetry.sdk' in sys.modules else 'without'} the SDK", flush=True)


WORK: dict[str, Work] = {work.__name__: work for work in (idle, drains, fails, is_refused, overruns, ends, traces)}


@asynccontextmanager
async def failing_lifespan(app: FastAPI) -> Any:
    raise RuntimeError("no lifespan")
    yield


async def held(request: Request) -> Response:
    """Answers after SIGUSR1."""
    released = released_by_signal()
    print("held", flush=True)
    await released.wait()
    print("answered", flush=True)
    return Response("answered")


async def close() -> None:
    print("closed", flush=True)


async def build(stop: asyncio.Event) -> tuple[Any, Sequence[Work]]:
    kind = sys.argv[1]
    if kind == "build_fails":
        raise ValueError("the build is wrong")
    if kind == "build_waits":
        print("building", flush=True)
        await asyncio.Event().wait()
    lifespan = failing_lifespan if kind == "lifespan_fails" else None
    app = FastAPI(routes=[*operations_routes(Health(stopping=stop)), Route("/held", held)], lifespan=lifespan)
    if kind == "holds":
        close_last(app, close)
    install_error_handlers(app)
    app.add_middleware(RequestContext)
    work = [idle] if kind not in WORK else [WORK[kind], idle]
    return app, work


if __name__ == "__main__":
    run_service("under-test", ServiceSettings(), build)
