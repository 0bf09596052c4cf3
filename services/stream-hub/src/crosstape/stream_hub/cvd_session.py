"""/ws/v1/cvd/{exchange}/{symbol}, the first seed's stream for traders: ticks with the running delta, and bars."""

from __future__ import annotations

import time
from typing import Any

from crosstape.common.errors import PlatformError
from crosstape.stream_hub import messages
from crosstape.stream_hub.anchors import anchored, earlier_hours, open_bar, read_anchor
from crosstape.stream_hub.channels import CvdTicks, read_interval
from crosstape.stream_hub.connection import Connection
from crosstape.stream_hub.desk import Desk
from crosstape.stream_hub.fanout import Group
from crosstape.stream_hub.protocol import closing, unknown_action
from crosstape.stream_hub.rolled import RolledBars


class CvdSession:
    """One client of the stream. It says nothing, so what is wrong with its address ends it."""

    def __init__(self, connection: Connection, desk: Desk):
        self._connection = connection
        self._desk = desk
        self._ticks: CvdTicks | None = None
        self._bars: Group | RolledBars | None = None

    async def open(self) -> None:
        """The snapshot, and from it on every tick. Raises Closing."""
        try:
            await self._open()
        except PlatformError as error:
            raise closing(error) from error

    async def _open(self) -> None:
        desk, hello = self._desk, self._connection.hello
        _, exchange, symbol = hello.path
        interval = read_interval(hello.query.get("interval", "1m"))
        anchor = read_anchor(hello.query.get("anchor", "utc_day"), time.time_ns())
        found = desk.find_one(exchange, symbol)
        market = desk.hub.market(found.exchange, found.symbol)
        await desk.founder.ensure(market)
        while True:
            earlier = await earlier_hours(market, interval, desk.history)
            key, since = await anchored(market, anchor, desk.history)
            now = int(time.time())
            if earlier.holds(interval, now):
                break

        # Without an await from here on: what the snapshot says is what the ticks go on from.
        self._ticks = desk.channels.cvd(market, key, since)
        self._bars = desk.channels.bars(market, interval)
        cvd = market.flow.cvd(now) if self._ticks.since is None else self._ticks.since.value
        head = {
            "exchange": found.exchange,
            "symbol": symbol,
            "canonical": found.symbol,
            **found.aliases,
            "interval": interval.value,
            "anchor": anchor.name,
        }
        place = {"offset": market.ticks.newest, "epoch": desk.hub.epoch}
        self._connection.send(messages.cvd_snapshot(head, cvd, open_bar(market, interval, earlier, now), place))
        self._ticks.group.join(self._connection)
        _group(self._bars).join(self._connection)

    async def handle(self, message: dict[str, Any]) -> None:
        """Raises ValidationFailed: there is nothing to ask for."""
        raise unknown_action(message, "ping, auth")

    def close(self) -> None:
        """The client is gone."""
        if self._ticks is not None:
            self._ticks.group.leave(self._connection)
        if self._bars is not None:
            _group(self._bars).leave(self._connection)
        self._desk.channels.release()


def _group(bars: Group | RolledBars) -> Group:
    return bars if isinstance(bars, Group) else bars.group
