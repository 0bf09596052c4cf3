"""Recovery as a rule, without sockets: random histories of messages, lost connections, lost logs and short memories."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crosstape.client.events import Gap, Recovered, Subscribed, TradeEvent
from crosstape.client.subscriptions import Subscriptions

CHANNEL = "trades:binance:BTC-USDT"


class Histories(RuleBasedStateMachine):
    """A hub with one channel, and a client. `wire` is what was sent and not yet read; a lost connection loses it."""

    def __init__(self) -> None:
        super().__init__()
        self.subscriptions = Subscriptions()
        self.epoch = 0
        self.offset = 0
        self.log: list[tuple[int, int]] = []
        self.floor = 0
        self.published = 0
        self.wire: list[str] = []
        self.is_live = False
        self.told: list[int | None] = []

    @initialize()
    def subscribe(self) -> None:
        self.request(self.subscriptions.add([CHANNEL], {}))
        self.read(1)

    @rule(count=st.integers(1, 5), step=st.integers(1, 3))
    def publish(self, count: int, step: int) -> None:
        for _ in range(count):
            self.offset += step
            self.log.append((self.offset, self.published))
            self.published += 1
            if self.is_live:
                self.send(*self.log[-1])

    @rule(count=st.integers(1, 8))
    def read(self, count: int) -> None:
        for _ in range(min(count, len(self.wire))):
            event = self.subscriptions.read(self.wire.pop(0))
            if isinstance(event, TradeEvent):
                self.told.append(int(event.trade_id))
            elif isinstance(event, Gap):
                self.told.append(None)
            else:
                assert event is None or isinstance(event, Subscribed | Recovered)

    @rule(repeats=st.integers(0, 3))
    def lose_connection(self, repeats: int) -> None:
        """And connect again; a careless hub sends some of what it had sent already."""
        self.wire.clear()
        for message in self.subscriptions.opening():
            self.request(message, repeats)

    @rule(kept=st.integers(0, 4))
    def forget(self, kept: int) -> None:
        """The hub's memory is short."""
        gone = self.log[: max(0, len(self.log) - kept)]
        if gone:
            self.floor = gone[-1][0]
            del self.log[: len(gone)]

    @rule()
    def restart(self) -> None:
        """The log begins anew, and so do its offsets."""
        self.epoch += 1
        self.offset = self.floor = 0
        self.log.clear()
        self.lose_connection(0)

    @invariant()
    def nothing_comes_twice_and_no_hole_is_silent(self) -> None:
        last: int | None = None
        for number in self.told:
            if number is not None and last is not None:
                assert number == last + 1
            last = number

    def teardown(self) -> None:
        self.read(len(self.wire))
        self.nothing_comes_twice_and_no_hole_is_silent()
        numbers = [number for number in self.told if number is not None]
        assert sorted(set(numbers)) == numbers

    def request(self, message: dict[str, Any], repeats: int = 0) -> None:
        [asked] = message["channels"]
        since = asked.get("since")
        is_recovered = since is not None and asked["epoch"] == str(self.epoch) and since >= self.floor
        place = since if is_recovered else self.offset
        answer = {"type": "subscribed", "channel": CHANNEL, "epoch": str(self.epoch), "offset": place}
        self.wire.append(json.dumps(answer | ({} if since is None else {"recovered": is_recovered})))
        done = sum(offset <= place for offset, _ in self.log)
        for entry in self.log[max(0, done - repeats) if is_recovered else done :]:
            self.send(*entry)
        self.is_live = True

    def send(self, offset: int, number: int) -> None:
        trade = {"exchange": "binance", "symbol": "BTC-USDT", "timestamp": 1, "price": 1, "quantity": 1, "side": "buy"}
        message = {"type": "trade", "channel": CHANNEL, "offset": offset, "trade_id": number, **trade}
        self.wire.append(json.dumps(message))


Histories.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestHistories = Histories.TestCase


def test_two_messages_at_one_offset_are_both_told() -> None:
    """A minute may close two long bars."""
    subscriptions = Subscriptions()
    subscriptions.add(["bars:okx:X:5m"], {})
    subscribed = {"type": "subscribed", "channel": "bars:okx:X:5m", "epoch": "e", "offset": 1}
    subscriptions.read(json.dumps(subscribed))
    numbers = dict.fromkeys(("open", "high", "low", "close", "volume", "volume_delta", "trades", "revision"), 1)
    told = []
    for timestamp in (0, 300, 300):
        bar = numbers | {"timestamp": timestamp, "status": "final"}
        message = {"type": "bar_close", "channel": "bars:okx:X:5m", "offset": 2, "bar": bar}
        told.append(subscriptions.read(json.dumps(message)))
    assert [event is None for event in told] == [False, False, True]
