"""Frames, handshakes and fan-out, without a socket."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict
from websockets.extensions.permessage_deflate import PerMessageDeflate
from websockets.frames import Frame, Opcode
from websockets.streams import StreamReader

from crosstape.common.errors import NotFound, ValidationFailed
from crosstape.common.market.book import BookUpdate
from crosstape.stream_hub import reading
from crosstape.stream_hub.assembly import Assembly, Received
from crosstape.stream_hub.book_feed import BACKLOG_BYTES, BookFeed, Target
from crosstape.stream_hub.encoding import NUMBERS, PACKED, Encoding, deflate, frame, inflate
from crosstape.stream_hub.fanout import Group, Outbox
from crosstape.stream_hub.handshake import read_hello
from crosstape.stream_hub.inbox import MOST_WAITING, Inbox
from crosstape.stream_hub.limits import Allowance
from crosstape.stream_hub.market import MarketState, RingSize
from crosstape.stream_hub.protocol import Closing, read_message


def parse(data, extensions=()):
    """What another implementation reads out of some frames."""
    reader, frames = StreamReader(), []
    reader.feed_data(data)
    while reader.buffer:
        parsing = Frame.parse(reader.read_exact, mask=False, extensions=list(extensions))
        try:
            while True:
                next(parsing)
        except StopIteration as end:
            frames.append(end.value)
    return frames


@given(st.sampled_from([0, 1, 125, 126, 65_535, 65_536, 70_000]))
def test_frame_is_what_others_read(size):
    (found,) = parse(frame(Opcode.TEXT, b"x" * size))
    assert (found.opcode, found.data, found.fin) == (Opcode.TEXT, b"x" * size, True)


@given(st.binary(max_size=5_000))
def test_deflated_is_read_by_others_and_by_us(payload):
    theirs = PerMessageDeflate(True, True, 15, 15)
    (found,) = parse(frame(Opcode.BINARY | 0x40, deflate(payload)), [theirs])
    assert found.data == payload
    assert inflate(deflate(payload), 10_000) == payload


def test_inflating_has_a_limit():
    with pytest.raises(OverflowError):
        inflate(deflate(b"0" * 1_000_000), 65_536)
    with pytest.raises(ValueError):
        inflate(b"\xff\xff\xff", 65_536)


def test_one_message_in_every_notation():
    def build(notation):
        return {"price": notation.number("0.10"), "at": notation.seconds(1_500_000_000)}

    assert parse(Encoding(NUMBERS).frame(build))[0].data == b'{"price":0.10,"at":1.5}'
    assert msgspec.msgpack.decode(parse(Encoding(PACKED).frame(build))[0].data) == {"price": "0.10", "at": 1.5}


@pytest.mark.parametrize(
    ("target", "route"),
    [
        ("/ws", ("books",)),
        ("/ws/v1/stream?format=msgpack", ("stream",)),
        ("/ws/v1/cvd/kraken/XBT/USD", ("cvd", "kraken", "XBT/USD")),
        ("/ws/v1/cvd/kraken/XBT%2FUSD?interval=5m", ("cvd", "kraken", "XBT/USD")),
    ],
)
def test_route_of_an_address(target, route):
    assert read_hello(target.encode(), CIMultiDict()).path == route


@pytest.mark.parametrize(
    "target", ["/", "/ws/", "/ws/v1/cvd/", "/ws/v1/cvd/okx", "/ws/v1/cvd/okx/", "/wss", "/ws/v2/stream"]
)
def test_other_addresses_are_none(target):
    with pytest.raises(NotFound):
        read_hello(target.encode(), CIMultiDict())


@given(st.text(), st.dictionaries(st.sampled_from(["Authorization", "Sec-WebSocket-Protocol"]), st.text()))
def test_no_request_does_more_than_refuse(target, headers):
    with contextlib.suppress(NotFound, ValidationFailed):
        read_hello(target.encode("utf-8", "replace"), CIMultiDict(headers))


def test_more_parameters_than_any_stream_takes_are_refused():
    with pytest.raises(ValidationFailed, match="at most 20"):
        read_hello(b"/ws?" + b"a=1&" * 21, CIMultiDict())


@pytest.mark.parametrize(
    ("offer", "is_accepted"),
    [
        ("permessage-deflate", True),
        ("permessage-deflate; client_max_window_bits", True),
        ("permessage-deflate; server_max_window_bits=10", False),
        ("permessage-deflate; server_max_window_bits=10, permessage-deflate", True),
        ("x-webkit-deflate-frame", False),
        ("", False),
    ],
)
def test_deflate_is_agreed_where_everybody_can_share_it(offer, is_accepted):
    hello = read_hello(b"/ws", CIMultiDict({"Sec-WebSocket-Extensions": offer}))
    assert (hello.encoding.is_deflated, bool(hello.extension)) == (is_accepted, is_accepted)


def test_token_is_kept_out_of_the_query():
    hello = read_hello(b"/ws?token=secret&format=json", CIMultiDict())
    assert (hello.credential, dict(hello.query)) == ("secret", {"format": "json"})


class Socket:
    """A member that notes what is written, write by write."""

    def __init__(self, encoding=None):
        self.encoding = encoding or Encoding()
        self.writes = []
        self.write_now = self.write

    def write(self, data):
        self.writes.append([one.data for one in parse(data)])


def message(number):
    return lambda notation: number


async def test_what_one_turn_has_for_a_socket_is_one_write():
    outbox = Outbox()
    one, two = Group(outbox), Group(outbox)
    both, single = Socket(), Socket()
    for group in (one, two):
        group.join(both)
    one.join(single)
    outbox.send(both, message(0))
    one.publish(message(1))
    two.publish(message(2))
    one.publish(message(3))
    await asyncio.sleep(0)
    assert both.writes == [[b"0", b"1", b"3", b"2"]]
    assert single.writes == [[b"1", b"3"]]


async def test_a_message_is_encoded_once_for_everybody_alike():
    outbox, encoded = Outbox(), []
    group = Group(outbox)
    for encoding in (Encoding(), Encoding(), Encoding(PACKED), Encoding(NUMBERS, True)):
        group.join(Socket(encoding))
    group.publish(lambda notation: encoded.append(notation) or {})
    assert len(encoded) == 3


@given(st.lists(st.sampled_from(["join", "leave", "publish", "turn"]), max_size=30))
def test_a_member_gets_exactly_what_is_published_while_it_is_one(steps):
    asyncio.run(_joins(steps))


async def _joins(steps):
    outbox = Outbox()
    group, socket, other = Group(outbox), Socket(), Socket()
    group.join(other)
    is_member, number, expected = False, 0, []
    for step in steps:
        if step == "join" and not is_member:
            group.join(socket)
            is_member = True
        elif step == "leave" and is_member:
            group.leave(socket)
            is_member = False
        elif step == "publish":
            number += 1
            group.publish(message(number))
            expected += [number] if is_member else []
        elif step == "turn":
            await asyncio.sleep(0)
    await asyncio.sleep(0)
    outbox.flush()
    assert [int(data) for write in socket.writes for data in write] == expected
    assert [int(data) for write in other.writes for data in write] == list(range(1, number + 1))


async def test_a_member_that_is_ahead_gets_what_lies_behind_its_position():
    outbox = Outbox()
    group, socket = Group(outbox), Socket()
    group.join(socket, has=2)
    for place in range(5):
        group.publish(message(place), place)
    outbox.flush()
    assert socket.writes == [[b"3", b"4"]]
    assert len(group) == 1
    group.leave(socket)
    assert len(group) == 0


async def test_books_of_one_turn_wait_for_each_other_and_all_arrive():
    class Reader(Socket):
        def backlog(self):
            return outbox.waiting(self)

    outbox, reader = Outbox(), Reader()
    levels = [(f"{price}.5", "1") for price in range(1, 1_000)]
    for number in range(20):
        market = MarketState("binance", f"N{number}-USDT", outbox, RingSize(1, 1.0), 0.0)
        market.book.apply(
            BookUpdate("binance", market.symbol, True, levels, [], 0, time.time_ns(), None, 1),
            1,
            time.time_ns() // 10**6,
        )
        head = {"symbol": market.symbol}
        feed = BookFeed(outbox, [Target(market, None)], is_consolidated=False, depth=1_000, interval=0.01, head=head)
        feed.join(reader)
    assert reader.backlog() < 2 * BACKLOG_BYTES
    told = set()
    while len(told) < 20:
        await asyncio.sleep(0.001)
        told |= {msgspec.json.decode(data)["symbol"] for data in itertools.chain(*reader.writes)}


@pytest.mark.parametrize("value", [b"\xc7\x03\x05abc", b"\xd4\x01\x00"])
def test_a_messagepack_extension_is_refused_and_not_shown_as_an_object_of_ours(value):
    with pytest.raises(ValidationFailed, match="not MessagePack"):
        read_message(b"\x81\xa6action" + value, is_packed=True)


def test_a_long_message_counts_as_several():
    inbox = Inbox(0.0)
    long = Received(b" " * 60_000, False)  # 15
    for _ in range(4 + 6):
        inbox.put(long, 0.0)
    with pytest.raises(Closing):
        inbox.put(long, 0.0)
    assert [inbox.take()[1] for _ in range(10)] == [True] * 4 + [False] * 6


def test_a_client_that_is_not_answered_yet_may_say_only_so_much():
    inbox, message = Inbox(0.0), Received(b"{}", False)
    for minute in range(MOST_WAITING):
        inbox.put(message, minute * 60.0)
    with pytest.raises(Closing) as closed:
        inbox.put(message, 1e6)
    assert closed.value.code == 4429
    assert inbox.take() == (message, True)
    inbox.put(message, 1e6)


async def test_a_client_that_reads_nothing_is_waited_for_only_so_long(monkeypatch):
    class Client:
        left = 1_000_000

        def backlog(self):
            return self.left

    monkeypatch.setattr(reading, "LONGEST_SECONDS", 0.05)
    with pytest.raises(Closing) as closed:
        await reading.has_read(Client())
    assert closed.value.code == 4408


async def test_a_client_that_reads_slowly_is_waited_for(monkeypatch):
    class Client:
        left = 300_000

        def backlog(self):
            self.left -= 1_000
            return self.left

    monkeypatch.setattr(reading, "LONGEST_SECONDS", 0.02)
    await reading.has_read(client := Client())
    assert client.left <= reading.BACKLOG_BYTES


@given(st.lists(st.floats(0, 3), min_size=1, max_size=60))
def test_allowance_is_never_more_than_burst_and_rate(pauses):
    allowance, now, taken = Allowance(2.0, 5, 0.0), 0.0, 0
    for pause in pauses:
        now += pause
        taken += allowance.take(now)
        assert taken <= 5 + 2 * now + 1e-6


@given(st.lists(st.binary(max_size=200), min_size=1, max_size=6), st.booleans(), st.booleans())
def test_fragments_in_any_cut_are_the_message(parts, is_packed, is_deflated):
    whole = b"".join(parts)
    sent = deflate(whole) if is_deflated else whole
    cuts = [sent[place : place + 7] for place in range(0, len(sent), 7)] or [b""]
    assembly = Assembly(can_inflate=True)
    found = assembly.begin(cuts[0], is_packed=is_packed, is_deflated=is_deflated, is_last=len(cuts) == 1)
    for number, cut in enumerate(cuts[1:], 2):
        assert found is None
        found = assembly.go_on(cut, is_last=number == len(cuts))
    assert found == (whole, is_packed)


def test_frames_out_of_order_or_deflated_without_leave_end_the_socket():
    for wrong in (
        lambda assembly: assembly.go_on(b"x", is_last=True),
        lambda assembly: assembly.begin(b"x", is_packed=False, is_deflated=True, is_last=True),
        lambda assembly: [assembly.begin(b"", is_packed=False, is_deflated=False, is_last=False) for _ in range(2)],
    ):
        with pytest.raises(Closing) as refused:
            wrong(Assembly(can_inflate=False))
        assert refused.value.code == 1002
