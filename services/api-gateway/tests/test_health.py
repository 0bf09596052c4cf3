"""Health as clients and probes see it, with parts up and down."""

from __future__ import annotations

import asyncio
import re
import ssl
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from crosstape.api_gateway.checks import Monitor, bus_probe
from crosstape.common.runtime.health import Check
from tests.engines.certificates import Authority

pytestmark = [pytest.mark.asyncio(loop_scope="session"), pytest.mark.integration]

STATUS = {
    "database": {"status": "up", "response_time_ms": 1.5},
    "feeds": {
        "binance": {"status": "up", "last_event_age_ms": 12},
        "okx": {"status": "down", "last_event_age_ms": 9e4},
    },
}


async def answer_kafka(reader: Any, writer: Any) -> None:
    """Answers Kafka's ApiVersions."""
    request = await reader.readexactly(14)
    assert request[4:8] == b"\0\x12\0\0", "ApiVersions, version 0"
    writer.write(b"\0\0\0\x0a" + request[8:12] + b"\0\0\0\0\0\0")
    writer.close()


@pytest_asyncio.fixture(loop_scope="session")
async def broker() -> Any:
    async with await asyncio.start_server(answer_kafka, "127.0.0.1", 0) as server:
        yield f"127.0.0.1:1,127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_the_simple_ones_have_the_seeds_shape(gateway: Any, service: Any) -> None:
    health = (await gateway.ask("/health")).json
    assert list(health) == ["status", "version", "timestamp"]
    assert health["status"] == "healthy"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", health["timestamp"])
    assert (await gateway.ask("/health/live")).body == b'{"status":"ok"}'
    assert (await gateway.ask("/livez")).body == b'{"status":"ok"}'
    assert (await gateway.ask("/ping")).body == b'{"message":"pong"}'


async def test_every_part_is_shown_and_a_feed_that_is_down_degrades(
    open_service: Any, open_gateway: Any, eventually: Any, scripted: Any, broker: str
) -> None:
    service, server = await open_service()
    service.answers["/internal/status"] = scripted(200, STATUS)
    service.answers["/readyz"] = scripted(200, {"status": "ready"})
    gateway = await open_gateway(server.port, kafka_bootstrap=broker, auth_url=f"http://127.0.0.1:{server.port}")

    async def complete() -> Any:
        body = (await gateway.ask("/health/ready")).json
        are_up = [body["checks"].get(part, {}).get("status") == "up" for part in ("auth", "history", "bus", "cache")]
        return body if all(are_up) else None

    body = await eventually(complete)
    assert list(body) == ["status", "version", "timestamp", "checks"]
    assert body["status"] == "degraded"
    checks = body["checks"]
    assert set(checks) == {"api", "auth", "database", "history", "bus", "cache", "feed:binance", "feed:okx"}
    assert checks["database"] == {"status": "up", "response_time_ms": 1.5}
    assert checks["api"] == {"status": "up"}
    assert checks["feed:binance"] == {"status": "up", "last_event_age_ms": 12}
    assert checks["feed:okx"] == {"status": "down", "last_event_age_ms": 90_000}
    for part in ("auth", "history", "bus", "cache"):
        assert checks[part]["response_time_ms"] > 0
    assert (await gateway.ask("/readyz")).status == 200

    service.answers["/internal/status"] = scripted(200, {"database": STATUS["database"], "feeds": {}})

    async def is_healthy() -> bool:
        return bool((await gateway.ask("/health/ready")).json["status"] == "healthy")

    await eventually(is_healthy)


async def test_a_broker_that_speaks_tls_is_asked_over_tls(
    open_service: Any, open_gateway: Any, eventually: Any, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    signed = authority.sign("broker")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(signed.certificate, signed.key)
    _, server = await open_service()
    async with await asyncio.start_server(answer_kafka, "127.0.0.1", 0, ssl=context) as broker:
        gateway = await open_gateway(
            server.port,
            kafka_bootstrap=f"127.0.0.1:{broker.sockets[0].getsockname()[1]}",
            kafka_security_protocol="SASL_SSL",
            kafka_ssl_ca_file=str(authority.file),
        )

        async def is_up() -> bool:
            checks = (await gateway.ask("/health/ready")).json["checks"]
            return bool(checks.get("bus", {}).get("status") == "up")

        await eventually(is_up)


async def test_a_database_that_is_down_is_unhealthy_and_still_200(
    open_service: Any, open_gateway: Any, eventually: Any, scripted: Any
) -> None:
    service, server = await open_service()
    service.answers["/internal/status"] = scripted(200, {"database": {"status": "down"}, "feeds": {}})
    gateway = await open_gateway(server.port)

    async def asked() -> Any:
        reply = await gateway.ask("/health/ready")
        return reply if reply.json["checks"]["history"]["status"] == "up" else None

    reply = await eventually(asked)
    assert (reply.status, reply.json["status"]) == (200, "unhealthy")
    assert reply.json["checks"]["database"]["status"] == "down"
    assert (await gateway.ask("/readyz")).status == 200, "history can be reached: it answers its own errors"


async def test_dead_parts_are_down_and_readyz_follows_history(
    open_service: Any, open_gateway: Any, eventually: Any, scripted: Any
) -> None:
    service, server = await open_service()
    service.answers["/internal/status"] = scripted(200, STATUS)
    gateway = await open_gateway(server.port, kafka_bootstrap="127.0.0.1:1", redis_url="redis://127.0.0.1:1/0")

    async def readyz(status: int) -> bool:
        return bool((await gateway.ask("/readyz")).status == status)

    async def are_down() -> bool:
        checks = (await gateway.ask("/health/ready")).json["checks"]
        return all(checks.get(part, {}).get("status") == "down" for part in ("bus", "cache"))

    await eventually(lambda: readyz(200))
    await eventually(are_down)
    await server.stop()
    await eventually(lambda: readyz(503))
    ready = await gateway.ask("/health/ready")
    assert (ready.status, ready.json["status"]) == (200, "unhealthy")
    assert (await gateway.ask("/livez")).status == 200
    assert (await gateway.ask("/health")).status == 200
    await server.start()
    await eventually(lambda: readyz(200))
    gateway.stopping.set()
    assert await readyz(503), "nobody sends new work to a gateway that drains"
    assert (await gateway.ask("/livez")).status == 200


@pytest.mark.parametrize("answer", [b"not json", b"[]", b'{"database": 1}', b"\xff", b"[" * 100_000])
async def test_nonsense_from_history_is_history_down_not_a_crash(
    open_service: Any, open_gateway: Any, eventually: Any, scripted: Any, answer: bytes
) -> None:
    service, server = await open_service()
    service.answers["/internal/status"] = scripted(200, answer)
    gateway = await open_gateway(server.port)

    async def was_asked() -> bool:
        return service.probes >= 2

    await eventually(was_asked)
    assert (await gateway.ask("/readyz")).status == 503
    assert (await gateway.ask("/health/ready")).json["status"] == "unhealthy"


async def test_a_broker_that_says_nothing_hides_no_other(broker: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("crosstape.api_gateway.checks.LONGEST_PROBE_SECONDS", 60.0)

    async def listen_only(reader: Any, writer: Any) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(listen_only, "127.0.0.1", 0) as silent, asyncio.timeout(30):
        address = f"127.0.0.1:{silent.sockets[0].getsockname()[1]}"
        assert (await bus_probe(f"{address},{address},{broker}", None)())["bus"].is_up


async def test_a_part_that_does_not_answer_keeps_no_other_waiting(eventually: Any) -> None:
    stop = asyncio.Event()

    async def never() -> Any:
        await asyncio.Event().wait()

    async def quick() -> Any:
        return {"quick": Check(is_up=True)}

    monitor = Monitor([never, quick], 0.01)
    running = asyncio.create_task(monitor.run(stop))

    async def is_up() -> bool:
        return monitor.check("quick").is_up

    await eventually(is_up)
    stop.set()
    async with asyncio.timeout(5):
        await running
