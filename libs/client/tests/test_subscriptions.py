"""Recovery as a rule, without sockets: random histories of messages, lost connections, lost logs and short memories."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from crosstape.client.events import Gap, Recovered, Refused, Subscribed, TradeEvent, Unsubscribed
from crosstape.client.subscriptions import Subscriptions

CHANNEL = "trades:binance:BTC-USDT"
NOT_THERE = "There is no such subscription."


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
        self.is_live = self.is_wanted = False
        self.told: list[int | None] = []

    @initialize()
    def begin(self) -> None:
        self.subscribe()
        self.read(1)

    @rule()
    def subscribe(self) -> None:
        self.is_wanted = True
        for message in self.subscriptions.add([CHANNEL], {}):
            self.request(message)

    @rule()
    def unsubscribe(self) -> None:
        self.is_wanted = False
        self.subscriptions.remove([CHANNEL])
        self.leave()

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
            elif isinstance(event, Gap | Subscribed | Unsubscribed):
                self.told.append(None)
            elif isinstance(event, Refused):
                assert event.message == NOT_THERE
            else:
                assert event is None or isinstance(event, Recovered)

    @rule(repeats=st.integers(0, 3))
    def lose_connection(self, repeats: int) -> None:
        """And connect again; a careless hub sends some of what it had sent already."""
        self.wire.clear()
        self.is_live = False
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
        assert resumed(self.subscriptions).keys() == ({CHANNEL} if self.is_wanted else set())

    def request(self, message: dict[str, Any], repeats: int = 0) -> None:
        [asked] = message["channels"]
        if self.is_live:
            self.wire.append(json.dumps({"type": "subscribed", "channel": CHANNEL, "already": True}))
            return
        since = asked.get("since")
        is_recovered = since is not None and asked["epoch"] == str(self.epoch) and since >= self.floor
        place = since if is_recovered else self.offset
        answer = {"type": "subscribed", "channel": CHANNEL, "epoch": str(self.epoch), "offset": place}
        self.wire.append(json.dumps(answer | ({} if since is None else {"recovered": is_recovered})))
        done = sum(offset <= place for offset, _ in self.log)
        for entry in self.log[max(0, done - repeats) if is_recovered else done :]:
            self.send(*entry)
        self.is_live = True

    def leave(self) -> None:
        error = {"type": "error", "error_code": "VALIDATION_ERROR", "message": NOT_THERE, "action": "unsubscribe"}
        answer = {"type": "unsubscribed"} if self.is_live else error
        self.wire.append(json.dumps(answer | {"channel": CHANNEL}))
        self.is_live = False

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


ETH = "trades:binance:ETH-USDT"


def read(subscriptions: Subscriptions, kind: str, **fields: Any) -> Any:
    return subscriptions.read(json.dumps({"type": kind, **fields}))


def following(*channels: str) -> Subscriptions:
    """Subscribed to these, each up to offset 5."""
    subscriptions = Subscriptions()
    subscriptions.add(channels, {})
    for channel in channels:
        read(subscriptions, "subscribed", channel=channel, epoch="e", offset=5)
    return subscriptions


def test_nothing_is_told_of_a_channel_that_was_left() -> None:
    subscriptions = following(CHANNEL)
    trade = {"exchange": "binance", "symbol": "BTC-USDT", "timestamp": 1, "price": 1, "quantity": 1, "side": "buy"}

    def is_told(offset: int) -> bool:
        return read(subscriptions, "trade", channel=CHANNEL, offset=offset, trade_id=offset, **trade) is not None

    assert is_told(6)
    subscriptions.remove([CHANNEL])
    assert not is_told(7)
    assert isinstance(read(subscriptions, "unsubscribed", channel=CHANNEL), Unsubscribed)


def resumed(subscriptions: Subscriptions) -> dict[str, int | None]:
    """The channels that a new connection asks for, and from where."""
    return {one["channel"]: one.get("since") for message in subscriptions.opening() for one in message["channels"]}


def test_a_live_channel_that_was_to_be_replayed_is_followed_on_and_the_caller_is_told() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.replay([CHANNEL, ETH], {"from": "2025-07-01"})
    refused = read(subscriptions, "subscribed", channel=CHANNEL, already=True)
    assert isinstance(refused, Refused)
    assert (refused.channel, refused.will_retry) == (CHANNEL, False)
    read(subscriptions, "replay_complete", epoch="e", channels=[ETH])
    assert resumed(subscriptions) == {CHANNEL: 5, ETH: None}


def test_a_live_channel_that_was_to_be_replayed_under_another_spelling_is_followed_on() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.replay(["trades:binance:btcusdt"], {"from": "2025-07-01"})
    refused = read(subscriptions, "subscribed", channel=CHANNEL, asked="trades:binance:btcusdt", already=True)
    assert isinstance(refused, Refused)
    assert resumed(subscriptions) == {CHANNEL: 5}


def test_channels_of_a_replay_that_is_refused_as_a_whole_are_followed_on_where_they_were() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    subscriptions.replay([CHANNEL], {"from": "2025-07-01"})
    read(subscriptions, "error", error_code="RATE_LIMITED", message="one span at a time", **{"from": "2025-07-01"})
    read(subscriptions, "replay_complete", epoch="e", channels=[ETH])
    assert resumed(subscriptions) == {CHANNEL: 5, ETH: None}


def test_a_replay_that_is_refused_as_a_whole_does_not_become_live() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    refused = read(subscriptions, "error", error_code="RATE_LIMITED", message="no place", **{"from": "2025-07-01"})
    assert isinstance(refused, Refused)
    assert (refused.will_retry, subscriptions.again()) == (False, [])
    assert resumed(subscriptions) == {CHANNEL: 5}


def test_a_replay_goes_on_when_a_second_one_beside_it_is_refused() -> None:
    subscriptions = Subscriptions()
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    subscriptions.replay([CHANNEL, ETH], {"from": "2025-07-01"})
    read(subscriptions, "error", error_code="RATE_LIMITED", message="one span at a time", **{"from": "2025-07-01"})
    assert resumed(subscriptions) == {ETH: None}


def test_a_channel_whose_replay_is_refused_for_the_moment_does_not_become_live() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    refused = read(subscriptions, "error", error_code="SERVICE_UNAVAILABLE", message="soon", channel=ETH)
    assert isinstance(refused, Refused)
    assert (refused.will_retry, subscriptions.again()) == (False, [])
    assert resumed(subscriptions) == {CHANNEL: 5}


def test_a_channel_of_a_replay_that_was_cut_off_is_asked_for_again_when_it_is_refused_for_the_moment() -> None:
    subscriptions = Subscriptions()
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    subscriptions.opening()
    refused = read(subscriptions, "error", error_code="SERVICE_UNAVAILABLE", message="soon", channel=ETH)
    assert isinstance(refused, Refused)
    assert (refused.will_retry, resumed(subscriptions)) == (True, {ETH: None})


def test_subscribing_to_a_channel_that_is_being_replayed_is_no_refusal() -> None:
    subscriptions = Subscriptions()
    subscriptions.replay([ETH], {"from": "2025-07-01"})
    subscriptions.add([ETH], {})
    assert read(subscriptions, "subscribed", channel=ETH, already=True) is None


def test_subscribing_once_more_to_a_live_channel_says_nothing() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.add([CHANNEL], {})
    assert read(subscriptions, "subscribed", channel=CHANNEL, already=True) is None
    assert resumed(subscriptions) == {CHANNEL: 5}


def test_a_channel_that_was_replayed_under_another_spelling_can_be_unsubscribed() -> None:
    subscriptions = Subscriptions()
    subscriptions.replay(["trades:binance:btcusdt"], {"from": "2025-07-01"})
    read(subscriptions, "replay_complete", epoch="e", channels=[CHANNEL])
    subscriptions.remove(["trades:binance:btcusdt"])
    assert read(subscriptions, "unsubscribed", channel=CHANNEL) == Unsubscribed(channel=CHANNEL)
    assert subscriptions.opening() == []


def test_a_channel_that_is_asked_for_anew_outlives_the_answer_to_its_leaving() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.remove([CHANNEL])
    subscriptions.add([CHANNEL], {})
    read(subscriptions, "unsubscribed", channel=CHANNEL)
    read(subscriptions, "subscribed", channel=CHANNEL, epoch="e", offset=7)
    assert resumed(subscriptions) == {CHANNEL: 7}


def test_a_channel_that_is_left_and_asked_for_again_before_any_answer_is_followed() -> None:
    subscriptions = Subscriptions()
    subscriptions.add([CHANNEL], {})
    subscriptions.remove([CHANNEL])
    subscriptions.add([CHANNEL], {})
    told = [
        read(subscriptions, "subscribed", channel=CHANNEL, epoch="e", offset=5),
        read(subscriptions, "unsubscribed", channel=CHANNEL),
        read(subscriptions, "subscribed", channel=CHANNEL, epoch="e", offset=7),
    ]
    assert told == [Subscribed(channel=CHANNEL), Unsubscribed(channel=CHANNEL), Subscribed(channel=CHANNEL)]
    assert resumed(subscriptions) == {CHANNEL: 7}


def test_what_is_left_and_was_one_message_too_many_is_left_later() -> None:
    subscriptions = following(CHANNEL, ETH)
    for channel in (CHANNEL, ETH):
        subscriptions.remove([channel])
    read(subscriptions, "unsubscribed", channel=CHANNEL)
    refused = read(subscriptions, "error", error_code="RATE_LIMITED", message="slowly", action="unsubscribe")
    assert refused.will_retry
    assert subscriptions.again() == [{"action": "unsubscribe", "channels": [ETH]}]
    assert subscriptions.again() == []


def test_what_is_asked_for_anew_before_it_could_be_left_is_followed() -> None:
    subscriptions = following(CHANNEL)
    subscriptions.remove([CHANNEL])
    read(subscriptions, "error", error_code="RATE_LIMITED", message="slowly", action="unsubscribe")
    subscriptions.add([CHANNEL], {})
    assert subscriptions.again() == []


def test_what_is_left_on_a_new_connection_is_said_once() -> None:
    """Who says it again is told that there is no such subscription."""
    subscriptions = following(CHANNEL, ETH)
    subscriptions.remove([CHANNEL])
    read(subscriptions, "error", error_code="RATE_LIMITED", message="slowly", action="unsubscribe")
    subscriptions.opening()
    subscriptions.remove([ETH])
    assert subscriptions.again() == []


def test_what_cannot_be_left_as_it_is_not_there_is_not_said_again() -> None:
    subscriptions = following(CHANNEL, ETH)
    subscriptions.remove([CHANNEL, ETH])
    read(subscriptions, "error", error_code="VALIDATION_ERROR", message=NOT_THERE, action="unsubscribe", channel=ETH)
    busy = {"error_code": "SERVICE_UNAVAILABLE", "message": "soon", "action": "unsubscribe"}
    assert read(subscriptions, "error", **busy, channel=CHANNEL).will_retry
    assert subscriptions.again() == [{"action": "unsubscribe", "channels": [CHANNEL]}]


def test_of_too_many_channels_those_that_are_live_are_resumed() -> None:
    subscriptions = following(CHANNEL)
    others = [f"trades:binance:X{number}-USDT" for number in range(150)]
    subscriptions.add(others, {})
    messages = subscriptions.opening()
    for message in messages + subscriptions.remove(f"trades:okx:Y{number}-USDT" for number in range(150)):
        assert len(message["channels"]) <= 128
    assert messages[0]["channels"][0] == {"channel": CHANNEL, "since": 5, "epoch": "e"}
    for beyond in others[127:]:
        read(subscriptions, "error", error_code="CONFLICT", message="128", channel=beyond, action="subscribe")
    assert list(resumed(subscriptions)) == [CHANNEL, *others[:127]]
