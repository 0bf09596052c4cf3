"""The world of a replay: the exchanges' dialects over recorded markets and recorded answers."""

import asyncio
from typing import Any

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.faults import Faults
from crosstape.exchange_sim.feed import Feed
from crosstape.exchange_sim.replay.kraken_v1 import KrakenV1
from crosstape.exchange_sim.replay.markets import RecordedMarket, instrument_of
from crosstape.exchange_sim.replay.playback import Playback, timelines
from crosstape.exchange_sim.replay.recordings import HttpBody, Recording, read_recordings
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.settings import SimConfig
from crosstape.exchange_sim.venues import DIALECTS
from crosstape.exchange_sim.venues.dialect import Answer, Dialect, Query

SELECTING = ("symbol", "instType", "instId", "category", "pair", "uly")


class ReplayFeed:
    """Hands subscriptions to the playbacks of their address and symbol."""

    def __init__(self, playbacks: list[Playback]) -> None:
        self.playbacks = playbacks

    def subscribe(self, session: Session, key: ChannelKey) -> None:
        for playback in self.playbacks:
            if playback.serves(key):
                playback.subscribe(session, key)

    def unsubscribe(self, session: Session, key: ChannelKey) -> None:
        for playback in self.playbacks:
            playback.unsubscribe(session, key)

    def leave(self, session: Session) -> None:
        for playback in self.playbacks:
            for key in [key for key, sessions in playback.subscribers.items() if session in sessions]:
                playback.unsubscribe(session, key)


class Replay:
    """Trades become part of an exchange's REST history in the moment they are played."""

    def __init__(self, config: SimConfig, faults: Faults, clock: ExchangeClock) -> None:
        if config.recordings is None:
            raise ValueError("a replay needs recordings")
        self.faults = faults
        self.clock = clock
        self.sessions: set[Session] = set()
        self.connections = 0
        recordings, self.bodies = read_recordings(config.recordings, config.exchanges)
        self.markets: dict[str, RecordedMarket] = {}
        self.playbacks: list[Playback] = []
        newest = newest_by_market(recordings)
        for timeline in timelines(recordings, config.speed, config.times == "now"):
            for recording in timeline.recordings:
                own: dict[str, RecordedMarket] = {}
                for symbol in recording.symbols:
                    if newest[recording.exchange, recording.address, symbol] is not recording:
                        continue
                    market = RecordedMarket(instrument_of(recording, symbol), config.history)
                    market.recorded_book = recording.books.get(symbol)
                    own[symbol] = self.markets[market.instrument.key] = market
                if own:
                    self.playbacks.append(Playback(recording, timeline, own, clock))
        self.dialects: dict[str, Dialect] = {}
        for exchange in config.exchanges:
            own_markets = [one for one in self.markets.values() if one.instrument.exchange == exchange]
            markets = {(one.instrument.kind, one.instrument.symbol): one for one in own_markets}
            dialect = KrakenV1 if exchange == "kraken" else DIALECTS[exchange]
            self.dialects[exchange] = dialect(markets, clock)
        self._feed = ReplayFeed(self.playbacks)

    @property
    def is_paused(self) -> bool:
        return not all(playback.unpaused.is_set() for playback in self.playbacks)

    @is_paused.setter
    def is_paused(self, paused: bool) -> None:
        for playback in self.playbacks:
            if paused:
                playback.unpaused.clear()
            else:
                playback.unpaused.set()

    def feed(self, exchange: str) -> Feed:
        return self._feed

    def recorded_answer(self, exchange: str, address: str, path: str, query: Query) -> Answer | None:
        for body in reversed(self.bodies):
            if (body.exchange, body.address, body.path) == (exchange, address, path) and selects(body, query):
                return Answer(body.body)
        return None

    def stats(self) -> dict[str, Any]:
        return {
            "trades": sum(len(market.history) for market in self.markets.values()),
            "connections": self.connections, "open_connections": len(self.sessions), "paused": self.is_paused,
            "frames": sum(playback.frames for playback in self.playbacks), "replay": self.state(),
            "recordings": {playback.recording.path.name: playback.state for playback in self.playbacks},
        }  # fmt: skip

    def state(self) -> str:
        """`waiting` for the first subscriber, `running`, or `done`: all that was started has ended."""
        started = [playback.state for playback in self.playbacks if playback.state != "waiting"]
        if not started:
            return "waiting"
        return "done" if all(state == "done" for state in started) else "running"

    async def run(self) -> None:
        try:
            async with asyncio.TaskGroup() as tasks:
                for playback in self.playbacks:
                    tasks.create_task(playback.run())
                tasks.create_task(self._flush_replies())
        except ExceptionGroup as errors:
            raise errors.exceptions[0] from None

    async def _flush_replies(self) -> None:
        """What faults held back (delays) goes out even when no further frame follows."""
        while True:
            await asyncio.sleep(0.05)
            for session in list(self.sessions):
                session.flush(self.clock.now_ns())

    def close(self) -> None:
        """A replay leaves nothing behind."""


def newest_by_market(recordings: list[Recording]) -> dict[tuple[str, str, str], Recording]:
    """Of several recordings of one market the newest is played: (exchange, address, symbol) to recording."""
    newest: dict[tuple[str, str, str], Recording] = {}
    for recording in sorted(recordings, key=lambda one: one.first):
        for symbol in recording.symbols:
            newest[recording.exchange, recording.address, symbol] = recording
    return newest


def selects(body: HttpBody, query: Query) -> bool:
    return all(body.query.get(name) == query.get(name) for name in SELECTING if name in body.query)
