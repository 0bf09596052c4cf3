"""/livez, /readyz and /metrics: what operators and their probes ask of every process."""

from __future__ import annotations

import msgspec
from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from crosstape.common.runtime.health import Health

_encoder = msgspec.json.Encoder(enc_hook=str)


def operations_routes(health: Health) -> list[BaseRoute]:
    """`/livez`: the event loop turns, no dependency asked. `/readyz`: 503 with the checks when it can't do its work."""

    async def livez(request: Request) -> Response:
        return Response(b'{"status":"ok"}', media_type="application/json")

    async def readyz(request: Request) -> Response:
        ready, checks = health.readiness()
        body = {
            "status": "ready" if ready else "not ready",
            "checks": {
                name: {**check.detail, "status": "up" if check.is_up else "down"} for name, check in checks.items()
            },
        }
        return Response(_encoder.encode(body), 200 if ready else 503, media_type="application/json")

    async def metrics(request: Request) -> Response:
        return Response(generate_latest(REGISTRY), media_type=CONTENT_TYPE_LATEST)

    return [Route("/livez", livez), Route("/readyz", readyz), Route("/metrics", metrics)]
