"""Playing recordings: at their own pace, faster, or as fast as the clients read."""

import asyncio
import math
import time
from collections.abc import Iterable

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.clock import ExchangeClock
from crosstape.exchange_sim.replay.frames import shifted, time_in
from crosstape.exchange_sim.replay.markets import RecordedMarket
from crosstape.exchange_sim.replay.recordings import Frame, Recording
from crosstape.exchange_sim.session import Session, text_frame

SETTLE_S = 0.25
BATCH = 64
LINES_A_TURN = 1_000
"""After so many lines of others the loop has its turn."""


class Timeline:
    """The common clock of recordings made at the same time. It starts with the first of them that is
    subscribed.

    The shift to now makes the first time now; a replay faster than life would run ahead of the clock, so
    there the last time falls on its end.
    """

    def __init__(self, recordings: list[Recording], speed: float, is_shifted: bool) -> None:
        self.recordings = recordings
        self.speed = speed
        self.is_shifted = is_shifted
        self.first = min(recording.first for recording in recordings)
        self.last = max(recording.last for recording in recordings)
        self.started_at: float | None = None
        self.shift_ms = 0

    def start(self) -> None:
        if self.started_at is not None:
            return
        self.started_at = time.monotonic()
        if self.is_shifted:
            remaining_ns = 0.0 if math.isinf(self.speed) else (self.last - self.first) / self.speed
            last_told = max(filter(None, map(last_time, self.recordings)), default=self.last)
            self.shift_ms = int(time.time_ns() + remaining_ns - last_told) // 1_000_000

    def due(self, frame: Frame) -> float:
        """Seconds until the frame's turn, negative when it has passed."""
        if self.started_at is None or math.isinf(self.speed):
            return 0.0
        return self.started_at + (frame.time_received - self.first) / 1e9 / self.speed - time.monotonic()


def last_time(recording: Recording) -> int | None:
    """The newest exchange time in the last frames of its channels, ns; None where they have none."""
    times = (time_in(recording.exchange, payload) for payload in recording.newest.values())
    return max(filter(None, times), default=None)


def timelines(recordings: Iterable[Recording], speed: float, is_shifted: bool) -> list[Timeline]:
    """Recordings whose times overlap share one."""
    groups: list[list[Recording]] = []
    end = -1
    for recording in sorted(recordings, key=lambda one: one.first):
        if not groups or recording.first > end:
            groups.append([])
        groups[-1].append(recording)
        end = max(end, recording.last)
    return [Timeline(group, speed, is_shifted) for group in groups]


class Playback:
    """One recording going out to whoever subscribed to its symbols. Nothing is dropped: a slow client slows
    it.

    `markets` are the symbols it is played for; frames of others (which a newer recording has) are passed
    over.
    """

    def __init__(
        self,
        recording: Recording,
        timeline: Timeline,
        markets: dict[str, RecordedMarket],
        clock: ExchangeClock,
    ) -> None:
        self.recording = recording
        self.timeline = timeline
        self.markets = markets
        self.clock = clock
        self.subscribers: dict[ChannelKey, dict[Session, None]] = {}
        self.state = "waiting"
        self.frames = 0
        self.unpaused = asyncio.Event()
        self.unpaused.set()
        self._subscribed = asyncio.Event()
        self._changed_at = 0.0

    def serves(self, key: ChannelKey) -> bool:
        place = f"{self.recording.exchange}/{self.recording.address}"
        return key.address == place and key.symbol in self.markets

    def subscribe(self, session: Session, key: ChannelKey) -> None:
        self.subscribers.setdefault(key, {})[session] = None
        self._changed_at = time.monotonic()
        self._subscribed.set()

    def unsubscribe(self, session: Session, key: ChannelKey) -> None:
        sessions = self.subscribers.get(key, {})
        sessions.pop(session, None)
        if not sessions:
            self.subscribers.pop(key, None)
        if not self.subscribers:
            self._subscribed.clear()

    async def run(self) -> None:
        """Waits for a subscriber, and until no further subscription has come for a quarter of a second."""
        await self._subscribed.wait()
        while (quiet := time.monotonic() - self._changed_at) < SETTLE_S:
            await asyncio.sleep(SETTLE_S - quiet)
        self.state = "running"
        self.timeline.start()
        for symbol, market in self.markets.items():
            if book := self.recording.books.get(symbol):
                market.recorded_book = shifted(self.recording.exchange, book, self.timeline.shift_ms)
        index = 0
        for line, frame in enumerate(self.recording.frames()):
            if frame is not None:
                await self._wait(index, frame)
                self._play(frame)
                index += 1
            elif line % LINES_A_TURN == 0:
                await asyncio.sleep(0)
        await self._flush()
        self.state = "done"

    async def _wait(self, index: int, frame: Frame) -> None:
        due = self.timeline.due(frame)
        if due > 0 or index % BATCH == 0:
            await self._flush()
            await asyncio.sleep(max(0.0, due))
        if math.isinf(self.timeline.speed):
            await self._subscribed.wait()
        await self.unpaused.wait()

    def _play(self, frame: Frame) -> None:
        exchange, shift_ms = self.recording.exchange, self.timeline.shift_ms
        market = self.markets.get(frame.symbol)
        if market is None:
            return
        payload = shifted(exchange, frame.payload, shift_ms)
        market.play(frame.trades, shift_ms)
        if frame.trades and not self.timeline.is_shifted:
            self.clock.replayed_ns = max(self.clock.replayed_ns or 0, frame.trades[-1].time_ns)
        for key, sessions in list(self.subscribers.items()):
            if key.symbol == frame.symbol and fits(key, frame.name):
                own = rendered(exchange, key, frame, payload)
                wire = text_frame(own)
                self.frames += 1
                for session in sessions:
                    session.deliver(own, wire)

    async def _flush(self) -> None:
        now_ns = time.time_ns()
        for session in {session: None for sessions in self.subscribers.values() for session in sessions}:
            session.flush(now_ns)
            await session.drain()


def fits(key: ChannelKey, name: str) -> bool:
    """Whether a recorded channel answers a subscription; bybit's recorded names hold the depth."""
    wanted = f"{key.name}.{key.variant}" if key.name == "orderbook" else key.name
    return name in (wanted, {"level2_batch": "level2", "trades-all": "trades"}.get(wanted))


def rendered(exchange: str, key: ChannelKey, frame: Frame, payload: bytes) -> bytes:
    """The frame as this subscription would have had it: the envelope and the names it used, nothing else
    changed."""
    if exchange == "okx" and key.name != frame.name:
        return payload.replace(b'"channel":"trades"', b'"channel":"trades-all"', 1)
    if exchange != "binance":
        return payload
    pace, _, envelope = key.variant.partition("/")
    data = payload[payload.index(b'"data":') + len(b'"data":') : payload.rindex(b"}")]
    if envelope == "raw":
        return data
    stream = f"{key.symbol.lower()}@{key.name}" + (f"@{pace}" if pace else "")
    return b'{"stream":"%s","data":%s}' % (stream.encode(), data)
