"""Asks for one path at a steady rate over a few kept-alive connections, and prints the median time of an answer.

Run as `python -m bench.paced PORT PATH RATE SECONDS HEADER`; prints microseconds.
"""

from __future__ import annotations

import asyncio
import sys
import time
from statistics import median

import uvloop

CONNECTIONS = 16


class _Connection(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport
        self._buffer = b""
        self._whole = 0

    def ask(self, request: bytes) -> asyncio.Future[float]:
        self._answer: asyncio.Future[float] = asyncio.get_running_loop().create_future()
        self._started = time.perf_counter()
        self._transport.write(request)  # type: ignore[attr-defined]
        return self._answer

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._whole:
            head, _, _ = self._buffer.partition(b"\r\n\r\n")
            if not head.startswith(b"HTTP/1.1 200"):
                raise RuntimeError(head.decode())
            self._whole = len(head) + 4 + int(head.lower().split(b"content-length:")[1].split(b"\r\n")[0])
        if len(self._buffer) >= self._whole:
            self._buffer, self._whole = b"", 0
            self._answer.set_result(time.perf_counter() - self._started)


async def _measure(port: int, path: str, rate: float, seconds: float, header: str) -> float:
    request = f"GET {path} HTTP/1.1\r\nHost: bench\r\n{header}\r\n\r\n".encode()
    loop = asyncio.get_running_loop()
    free = [(await loop.create_connection(_Connection, "127.0.0.1", port))[1] for _ in range(CONNECTIONS)]
    times: list[float] = []

    async def ask(connection: _Connection) -> None:
        times.append(await connection.ask(request))
        free.append(connection)

    async with asyncio.TaskGroup() as group:
        started = loop.time()
        for number in range(int(rate * seconds)):
            await asyncio.sleep(started + number / rate - loop.time())
            if free:
                group.create_task(ask(free.pop()))
    return median(times[len(times) // 5 :]) * 1e6


if __name__ == "__main__":
    port, path, rate, seconds, header = sys.argv[1:]
    print(uvloop.run(_measure(int(port), path, float(rate), float(seconds), header)))
