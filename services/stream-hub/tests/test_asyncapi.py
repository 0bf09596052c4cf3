"""docs/reference/asyncapi.yaml is what the hub says: real sockets' messages of every kind, against its schemas."""

from __future__ import annotations

import copy
import time
import warnings
from collections import Counter
from importlib import import_module
from pathlib import Path

import jsonschema_rs
import pytest
import yaml
from pydantic import ValidationError

from crosstape.common.market.bar import NANOSECONDS
from crosstape.common.market.book import BookStale
from crosstape.common.market.order import OrderEvent, OrderEventKind

with warnings.catch_warnings(action="ignore", category=UserWarning):  # a field of its own is called `schema`
    from asyncapi3.models.asyncapi import AsyncAPI3

h = import_module("services.stream-hub.tests.harness")

DOCUMENT = yaml.safe_load((Path(__file__).parents[3] / "docs" / "reference" / "asyncapi.yaml").read_text())
MINUTE = 60 * NANOSECONDS


def messages_of(channel, action):
    """The names in `components` of what is said one way over a channel."""
    (operation,) = (
        operation
        for operation in DOCUMENT["operations"].values()
        if operation["action"] == action and operation["channel"]["$ref"] == f"#/channels/{channel}"
    )
    keys = [reference["$ref"].rsplit("/", 1)[1] for reference in operation["messages"]]
    return [DOCUMENT["channels"][channel]["messages"][key]["$ref"].rsplit("/", 1)[1] for key in keys]


def validator(message):
    payload = copy.deepcopy(DOCUMENT["components"]["messages"][message]["payload"])
    return jsonschema_rs.Draft7Validator({**payload, "components": DOCUMENT["components"]})


VALIDATORS = {message: validator(message) for message in DOCUMENT["components"]["messages"]}


class Ear:
    """Hears a socket of a channel, and holds every message against the document."""

    def __init__(self, socket, channel):
        self.socket = socket
        self.channel = channel
        self.kinds = Counter()

    async def hear(self, *kinds):
        """Messages until one of each of `kinds` came; each must be one message of the document and no other."""
        waiting = set(kinds)
        while waiting:
            message = await h.hear(self.socket)
            found = [kind for kind in messages_of(self.channel, "send") if VALIDATORS[kind].is_valid(message)]
            assert len(found) == 1, (found, message)
            self.kinds[found[0]] += 1
            waiting -= set(found)

    async def say(self, message, number=0):
        """What the document's example of the message says."""
        await h.say(self.socket, **DOCUMENT["components"]["messages"][message]["examples"][number]["payload"])

    def heard_all(self):
        assert set(self.kinds) == set(messages_of(self.channel, "send"))


def client(platform, path):
    platform.authenticator.add("alice")
    return platform.client(path)


def order(number, kind, **fields):
    return OrderEvent("id-alice", "alice", "twap_1", number, kind, time.time_ns(), **fields)


def test_document_is_asyncapi_3_and_every_message_and_schema_is_used():
    AsyncAPI3.model_validate(DOCUMENT)
    text = yaml.safe_dump(DOCUMENT)
    for part in ("messages", "schemas", "securitySchemes"):
        assert [name for name in DOCUMENT["components"][part] if f"#/components/{part}/{name}" not in text] == []


@pytest.mark.parametrize("path", [("channels", "books", "adress"), ("operations", "tellBooks", "actoin"), ("sever",)])
def test_a_document_with_a_word_that_asyncapi_does_not_know_is_refused(path):
    wrong = copy.deepcopy(DOCUMENT)
    node = wrong
    for part in path[:-1]:
        node = node[part]
    node[path[-1]] = "x"
    with pytest.raises(ValidationError):
        AsyncAPI3.model_validate(wrong)


def test_examples_are_what_their_schemas_say():
    for name, message in DOCUMENT["components"]["messages"].items():
        for example in message.get("examples", ()):
            VALIDATORS[name].validate(example["payload"])


def test_numbers_that_outgrow_32_bits_say_so():
    """Or clients made from the document for other languages read them into 32."""
    fields = {
        (name, field): value
        for name, message in DOCUMENT["components"]["messages"].items()
        for field, value in message["payload"]["properties"].items()
        if field in ("offset", "sequence") and "integer" in value["type"]
    }
    assert len(fields) > 8
    assert [place for place, value in fields.items() if value.get("format") != "int64"] == []
    for name in ("TradeId", "Checksum"):
        assert DOCUMENT["components"]["schemas"][name]["format"] == "int64"


@pytest.mark.integration
async def test_books(platform):
    platform.book(h.snapshot("kraken", "BTC-USD", [("60002", "2")], [("60003", "2")], None))
    platform.book(h.snapshot("binance", "BTC-USDT", [("60000.10", "1")], [("60001", "1")]))
    platform.book(BookStale("okx", "BTC-USDT", "disconnected", 0))
    async with client(platform, "/ws") as socket:
        ear = Ear(socket, "books")
        for message in ("Auth", "Ping", "SubscribeBook"):
            await ear.say(message)
        await ear.hear("Authenticated", "Pong", "BookSubscribed", "Book")
        await ear.say("SubscribeBook", 1)
        await ear.hear("ConsolidatedBook")
        await ear.say("List")
        await ear.hear("BookSubscriptions")
        platform.book(BookStale("kraken", "BTC-USD", "disconnected", 0))
        await ear.hear("BookStale")
        await ear.say("UnsubscribeBook")
        await ear.hear("BookUnsubscribed")
        await ear.say("UnsubscribeBook")
        await ear.hear("Error")
        await h.say(socket, action="subscribe", exchange="binance", symbol="btc-usd")
        await ear.hear("BookSubscribed", "Book")
        ear.heard_all()


@pytest.mark.integration
async def test_cvd(platform):
    async with client(platform, "/ws/v1/cvd/binance/btc-usd") as socket:
        ear = Ear(socket, "cvd")
        await ear.say("Auth")
        await ear.hear("Authenticated", "Snapshot")
        await ear.say("Ping")
        await ear.hear("Pong")
        minute = time.time_ns() // MINUTE * MINUTE - MINUTE
        platform.trades(h.trade(1, time=minute), h.trade(2, time=minute + 5, side=h.TakerSide.SELL, quantity="0.3"))
        await ear.hear("Tick")
        platform.close_minute(minute // NANOSECONDS)
        await ear.hear("BarClose")
        platform.trades(h.trade(3, time=minute + 7, side=h.TakerSide.UNKNOWN))
        platform.close_minute(minute // NANOSECONDS)
        await ear.hear("BarRevision")
        await h.say(socket, action="subscribe")
        await ear.hear("Error")
        ear.heard_all()
    async with client(platform, "/ws/v1/cvd/binance/btc-usd") as socket:
        ear = Ear(socket, "cvd")
        await ear.say("Auth")
        await ear.hear("Snapshot")


@pytest.mark.integration
async def test_stream(platform):
    platform.book(h.snapshot("binance", "BTC-USDT", [("60000.10", "1")], [("60001", "1")]))
    async with client(platform, "/ws/v1/stream") as socket:
        ear = Ear(socket, "stream")
        for message in ("Auth", "Ping", "Subscribe"):
            await ear.say(message)
        await ear.hear("Authenticated", "Pong", "Subscribed")
        await ear.say("Subscribe", 1)
        await ear.hear("Book", "ConsolidatedBook")
        platform.book(BookStale("binance", "BTC-USDT", "disconnected", 0))
        await ear.hear("BookStale")
        minute = time.time_ns() // MINUTE * MINUTE - MINUTE
        platform.trades(h.trade(1, time=minute), h.trade(2, time=minute + 5))
        await ear.hear("Trade", "TapeTrade")
        for _ in range(2):
            platform.close_minute(minute // NANOSECONDS)
        await ear.hear("BarClose", "BarRevision")
        platform.publish("orders", order(0, OrderEventKind.ACCEPTED, symbol="BTC-USD", side="buy", quantity="2"))
        platform.publish("orders", order(1, OrderEventKind.FILL, exchange="kraken", price="9.50", filled_quantity="1"))
        platform.publish("orders", order(2, OrderEventKind.CLOSED, reason="expired"))
        for _ in range(3):
            await ear.hear("Order")
        await ear.say("List")
        await ear.hear("Subscriptions")
        for message in ("Unsubscribe", "Unsubscribe"):
            await ear.say(message)
        await ear.hear("Unsubscribed", "Error")
        replayed = ["trades:binance:BTC-USDT", "trades:*:BTC-USDT", "bars:binance:btc-usd:1s"]
        await h.say(socket, action="subscribe", channels=replayed, speed=1e6, **{"from": minute // NANOSECONDS})
        await ear.hear("Trade", "TapeTrade", "BarClose", "ReplayComplete")
        asked = [{"channel": "trades:binance:ETH-USDT", "since": 0, "epoch": "e0"}, "orders"]
        await h.say(socket, action="subscribe", channels=asked)
        for _ in asked:
            await ear.hear("Subscribed")
        ear.heard_all()
