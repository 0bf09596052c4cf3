"""The service behind the proxies of `gateway.py`: fixed answers from bare protocol callbacks, faster than any of them.

Run as `python -m bench.proxied PORT JWKS`: `/exchanges` is a tiny answer, `/api/v1/ohlcv/...` 1,000 bars; JWKS is what
the auth service would say of its keys, as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys

import uvloop

TINY = json.dumps({"exchanges": ["binance", "kraken", "coinbasepro", "okx", "bybit"]}).encode()
BARS = json.dumps(
    {
        "exchange": "binance",
        "symbol": "BTC-USDT",
        "bars": [
            {
                "timestamp": 1751328000 + 60 * number, "open": 107146.52, "high": 107146.53, "low": 107100.01,
                "close": 107120.99, "volume": 12.34567, "volume_delta": -1.23456, "trades": 1234, "status": "final",
                "revision": 1,
            }
            for number in range(1000)
        ],
        "next_cursor": None,
    }
).encode()  # fmt: skip


def _answer(body: bytes) -> bytes:
    head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
    return head % len(body) + body


async def _serve(port: int, key_set: bytes) -> None:
    answers = {
        b"/exchanges": _answer(TINY),
        b"/api/v1/ohlcv/binance/BTC-USDT": _answer(BARS),
        b"/.well-known/jwks.json": _answer(key_set),
        b"/internal/status": _answer(b'{"database":{"status":"up"}}'),
        b"/readyz": _answer(b'{"status":"ready"}'),
    }
    other = _answer(b"{}")

    class Client(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self._transport = transport
            self._buffer = b""

        def data_received(self, data: bytes) -> None:
            *heads, self._buffer = (self._buffer + data).split(b"\r\n\r\n")
            for head in heads:
                path = head[head.index(b" ") + 1 :].partition(b" ")[0].partition(b"?")[0]
                self._transport.write(answers.get(path, other))  # type: ignore[attr-defined]

    server = await asyncio.get_running_loop().create_server(Client, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    uvloop.run(_serve(int(sys.argv[1]), sys.argv[2].encode()))
