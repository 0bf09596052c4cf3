"""Recorded frames as another protocol of the same exchange says them, where a peer (or Crosstape) speaks only that one.

The market's content stays: the same trades and levels, digit for digit, one frame for one frame.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator
from typing import Any


def aggregate_trade(frame: str) -> str:
    """Binance `@trade` as `@aggTrade` of one fill: cryptofeed reads only that."""
    message = json.loads(frame)
    data = message["data"] | {"e": "aggTrade", "a": message["data"]["t"], "f": 0, "l": 0}
    return _text({"stream": message["stream"].replace("@trade", "@aggTrade"), "data": data})


def advanced_trade(frame: str) -> str:
    """Coinbase Exchange as Coinbase Advanced Trade: cryptofeed reads only that."""
    message = json.loads(frame)
    product, time = message["product_id"], message.get("time", "2021-04-17T16:43:30.000000Z")
    if message["type"] == "match":
        trade = {key: message[key] for key in ("product_id", "price", "size", "time")}
        trade |= {"trade_id": str(message["trade_id"]), "side": message["side"].upper()}
        channel, event = "market_trades", {"type": "update", "trades": [trade]}
    else:
        if message["type"] == "snapshot":
            kind = "snapshot"
            levels = [(side, *level) for side, key in (("bid", "bids"), ("ask", "asks")) for level in message[key]]
        else:
            kind = "update"
            levels = [("bid" if side == "buy" else "ask", p, q) for side, p, q in message["changes"]]
        updates = [{"side": s, "event_time": time, "price_level": p, "new_quantity": q} for s, p, q in levels]
        channel, event = "l2_data", {"type": kind, "product_id": product, "updates": updates}
    return _text({"channel": channel, "client_id": "", "timestamp": time, "sequence_num": 1, "events": [event]})


def kraken_v2(recorded: Iterable[str]) -> Iterator[str]:
    """Kraken's version 1 as version 2, which Crosstape and ccxt read; trades get consecutive ids, which v1 has not.

    Numbers are written as they were, every trailing zero kept: the checksum covers them.
    """
    trade_id = 1_000
    for frame in recorded:
        _, *parts, channel, pair = json.loads(frame)
        symbol = pair.replace("XBT", "BTC")
        if channel == "trade":
            trades = []
            for price, quantity, time, side, *_ in parts[0]:
                trade_id += 1
                trades.append(
                    f'{{"symbol":"{symbol}","side":"{"buy" if side == "b" else "sell"}","price":{price},'
                    f'"qty":{quantity},"ord_type":"limit","trade_id":{trade_id},"timestamp":"{_iso(time)}"}}'
                )
            yield f'{{"channel":"trade","type":"update","data":[{",".join(trades)}]}}'
            continue
        sides = {key: levels for part in parts for key, levels in part.items()}
        kind = "snapshot" if "as" in sides else "update"
        bids = _levels(sides.get("bs") or sides.get("b") or [])
        asks = _levels(sides.get("as") or sides.get("a") or [])
        covered = sides.get("c") or _checksum(sides["bs"], sides["as"])
        yield (
            f'{{"channel":"book","type":"{kind}","data":[{{"symbol":"{symbol}","bids":[{bids}],"asks":[{asks}],'
            f'"checksum":{covered},"timestamp":"2021-04-17T16:48:53.123456Z"}}]}}'
        )


def _levels(levels: list[list[str]]) -> str:
    return ",".join(f'{{"price":{price},"qty":{quantity}}}' for price, quantity, *_ in levels)


def _checksum(bids: list[list[str]], asks: list[list[str]]) -> int:
    """What a snapshot of version 2 would carry: version 1 sends none with it, and both sides best first."""
    digits = (
        number.replace(".", "").lstrip("0") for side in (asks, bids) for level in side[:10] for number in level[:2]
    )
    return zlib.crc32("".join(digits).encode())


def _iso(seconds: str) -> str:
    return f"2021-04-05T23:47:{int(float(seconds)) % 60:02d}.{seconds.partition('.')[2]:0<6}Z"


def _text(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))
