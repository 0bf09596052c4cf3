"""Is it ready? One real request in each protocol; an answer counts, an open port does not."""

import asyncio
import json
import struct
from collections.abc import Callable, Coroutine
from typing import Any

Probe = Callable[[], Coroutine[Any, Any, str]]
"""Asks once: the empty text when ready, else what is missing. OSError or TimeoutError: it does not answer."""

ATTEMPT_SECONDS = 2.0
_METADATA, _CORRELATION = 3, 7
_CLIENT = b"crosstape-probe"


async def _exchange(host: str, port: int, request: bytes, most: int) -> bytes:
    """Send `request` on a new connection and return the first `most` bytes of the answer, or fewer if it closes."""
    async with asyncio.timeout(ATTEMPT_SECONDS):
        reader, writer = await asyncio.open_connection(host, port)
        try:
            writer.write(request)
            answer = b""
            while len(answer) < most and (more := await reader.read(most - len(answer))):
                answer += more
            return answer
        finally:
            writer.close()


def kafka(host: str, port: int) -> Probe:
    """Ready when Metadata names at least one live broker: a starting KRaft node answers with none."""
    header = struct.pack(">hhih", _METADATA, 1, _CORRELATION, len(_CLIENT)) + _CLIENT
    request = header + struct.pack(">i", 0)

    async def probe() -> str:
        answer = await _exchange(host, port, struct.pack(">i", len(request)) + request, 12)
        if len(answer) < 12 or struct.unpack_from(">i", answer, 4) != (_CORRELATION,):
            return "it does not answer as a Kafka broker"
        return "" if struct.unpack_from(">i", answer, 8)[0] > 0 else "it names no live broker"

    return probe


def redis(host: str, port: int) -> Probe:
    """Ready when PING is answered by PONG: while it loads its file, it answers an error."""

    async def probe() -> str:
        answer = await _exchange(host, port, b"PING\r\n", 7)
        return "" if answer == b"+PONG\r\n" else f"it answers {answer!r} to PING"

    return probe


def http(host: str, port: int, path: str) -> Probe:
    """Ready when GET `path` is answered by a 2xx; else what its body calls down, as /readyz does."""
    request = f"GET {path} HTTP/1.1\r\nHost: {host}:{port}\r\nConnection: close\r\n\r\n".encode()

    async def probe() -> str:
        head, _, body = (await _exchange(host, port, request, 65536)).partition(b"\r\n\r\n")
        status = head[:12].split()
        if len(status) == 2 and status[1].startswith(b"2"):
            return ""
        return f"GET {path}: HTTP {status[-1].decode() if status else 'without an answer'}{down(body)}"

    return probe


def down(body: bytes) -> str:
    """The parts that a /readyz body calls down, as `: a, b`; empty where it says nothing of the kind."""
    try:
        checks = json.loads(body)["checks"]
        names = [name for name, check in checks.items() if check["status"] != "up"]
    except (ValueError, KeyError, TypeError, AttributeError):
        return ""
    return f": {', '.join(names)} down" if names else ""
