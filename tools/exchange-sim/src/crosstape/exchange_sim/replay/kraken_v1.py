"""Kraken's first socket protocol, only for recordings of it: subscriptions in, recorded arrays out.

Each version has its own path, so a replay offers both.

https://docs.kraken.com/api/docs/websocket-v1/book
"""

import msgspec

from crosstape.exchange_sim.channel_key import ChannelKey
from crosstape.exchange_sim.feed import Feed
from crosstape.exchange_sim.session import Session
from crosstape.exchange_sim.venues.dialect import Query, json_object
from crosstape.exchange_sim.venues.kraken import Kraken

V2 = "/v2"


class KrakenV1(Kraken):
    """Today's Kraken, whose socket speaks version 1 outside of `/v2`."""

    def greet(self, session: Session, query: Query, feed: Feed, now_ns: int) -> None:
        if session.path == V2:
            super().greet(session, query, feed, now_ns)
            return
        session.reply(
            b'{"connectionID":%d,"event":"systemStatus","status":"online","version":"1.9.0"}' % (now_ns // 1000)
        )

    def receive(self, session: Session, text: str, feed: Feed, now_ns: int) -> None:
        if session.path == V2:
            super().receive(session, text, feed, now_ns)
            return
        request = json_object(text) or {}
        if request.get("event") == "ping":
            session.reply(b'{"event":"pong"}')
            return
        subscription = request.get("subscription")
        if request.get("event") != "subscribe" or not isinstance(subscription, dict):
            session.reply(b'{"errorMessage":"Malformed request","event":"error"}')
            return
        name = str(subscription.get("name"))
        if name == "book":
            name = f"book-{subscription.get('depth', 10)}"
        for pair in request.get("pair") or []:
            is_known = ("spot", pair) in self.markets
            outcome = {
                "channelName": name,
                "event": "subscriptionStatus",
                "pair": pair,
                "status": "subscribed" if is_known else "error",
                "subscription": subscription,
            }
            if not is_known:
                outcome["errorMessage"] = f"Currency pair not supported {pair}"
            session.reply(msgspec.json.encode(outcome))
            if is_known:
                feed.subscribe(session, ChannelKey("kraken/stream", name, pair))
