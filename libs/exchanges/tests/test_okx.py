"""OKX's adapter on one sample of each message, written after www.okx.com/docs-v5/en, 2026-11-24."""

from __future__ import annotations

from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.book import BookUpdate
from crosstape.common.market.instrument import Instrument, Kind
from crosstape.common.market.trade import TakerSide, Trade
from crosstape.exchanges.dialect import Channel, FeedError, HistoryQuery, Kline, MalformedFrame, Rejected
from crosstape.exchanges.okx import Okx
from crosstape.exchanges.okx.contracts import Swap

DIALECT = Okx()
SPOT = Instrument("okx", "BTC-USDT", "BTC", "USDT")
SWAP = Swap(
    exchange="okx",
    exchange_symbol="BTC-USDT-SWAP",
    base="BTC",
    quote="USDT",
    kind=Kind.PERPETUAL,
    tick_size="0.1",
    lot_size="0.0001",
    contract_value="0.01",
)
RECEIVED = 1_630_048_898_000_000_000


def trade(side="buy", instrument="BTC-USDT", size="0.12060306"):
    return (
        f'{{"arg":{{"channel":"trades-all","instId":"{instrument}"}},"data":[{{"instId":"{instrument}",'
        f'"tradeId":"130639474","px":"42219.9","sz":"{size}","side":"{side}","source":"0","ts":"1630048897897"}}]}}'
    )


def book(action, previous, sequence, instrument="BTC-USDT", size="415", checksum=0):
    return (
        f'{{"arg":{{"channel":"books","instId":"{instrument}"}},"action":"{action}","data":[{{"asks":[["8476.98",'
        f'"{size}","0","13"]],"bids":[["8476.97","0","0","0"]],"ts":"1597026383085","checksum":{checksum},'
        f'"prevSeqId":{previous},"seqId":{sequence}}}]}}'
    )


def sockets():
    return DIALECT.subscriptions([SPOT, SWAP], frozenset(Channel))


def decode(text, channel=Channel.TRADES):
    (subscription,) = (s for s in sockets() if channel in s.channels)
    return list(subscription.decode(text.encode(), RECEIVED))


@pytest.mark.parametrize(("side", "taker"), [("buy", TakerSide.BUY), ("sell", TakerSide.SELL)])
def test_a_trade_keeps_its_digits_and_the_takers_side(side, taker):
    assert decode(trade(side)) == [
        Trade("okx", "BTC-USDT", 130639474, 1_630_048_897_897_000_000, "42219.9", "0.12060306", taker, RECEIVED)
    ]


def test_a_swap_counts_contracts_and_the_tape_base_currency():
    assert [(t.symbol, t.quantity) for t in decode(trade(instrument="BTC-USDT-SWAP", size="12.5"))] == [
        ("BTC-USDT.P", "0.125")
    ]
    (update,) = decode(book("snapshot", -1, 7, "BTC-USDT-SWAP"), Channel.BOOK)
    assert (update.asks, update.bids) == ([("8476.98", "4.15")], [("8476.97", "0")])


@pytest.mark.parametrize("size", ["NaN", "-1", "1e1000000", ""])
def test_a_number_of_contracts_that_is_none_is_malformed(size):
    with pytest.raises(MalformedFrame):
        decode(trade(instrument="BTC-USDT-SWAP", size=size))


def test_a_perpetual_future_whose_contract_is_unknown_is_refused_before_it_is_subscribed():
    unknown = Instrument("okx", "BTC-USDT-SWAP", "BTC", "USDT", Kind.PERPETUAL)
    with pytest.raises(ValueError, match="market list"):
        DIALECT.subscriptions([unknown], frozenset(Channel))


def test_a_book_frame_carries_its_sequence_numbers_and_a_checksum_of_0_is_none():
    (update,) = decode(book("update", 123456, 123457), Channel.BOOK)
    assert (update.previous_id, update.last_id, update.checksum, update.is_snapshot) == (123456, 123457, None, False)
    assert update.asks == [("8476.98", "415")]


def test_more_about_a_level_than_the_documentation_says_is_left_alone():
    (update,) = decode(book("update", 1, 2).replace('"0","13"', '"0","13",{"new":1}'), Channel.BOOK)
    assert update.asks == [("8476.98", "415")]


def test_acknowledgements_and_pongs_say_nothing():
    assert decode('{"event":"subscribe","arg":{"channel":"trades-all","instId":"BTC-USDT"},"connId":"a4d3ae55"}') == []
    assert decode('{"event":"channel-conn-count","channel":"trades-all","connCount":"2","connId":"a4d3ae55"}') == []
    assert decode("pong") == []
    assert decode("pong", Channel.BOOK) == []


def test_a_refusal_and_a_notice_of_closing_end_the_stream():
    with pytest.raises(FeedError, match="Invalid request"):
        decode('{"event":"error","code":"60012","msg":"Invalid request: {\\"op\\"}","connId":"a4d3ae55"}')
    with pytest.raises(FeedError, match="service upgrade"):
        decode('{"event":"notice","code":"64008","msg":"The connection will soon be closed for a service upgrade."}')


def test_trades_and_books_have_their_own_addresses():
    assert [(s.address, s.path) for s in sockets()] == [("stream", "/ws/v5/public"), ("stream", "/ws/v5/business")]
    assert [msgspec.json.decode(s.messages[0])["args"][0] for s in sockets()] == [
        {"channel": "books", "instId": "BTC-USDT"},
        {"channel": "trades-all", "instId": "BTC-USDT"},
    ]


def update(previous, last):
    return BookUpdate("okx", "BTC-USDT", False, [], [], 0, 0, last_id=last, previous_id=previous)


@given(st.lists(st.integers(1, 10**6), min_size=4, max_size=20, unique=True))
def test_an_update_left_out_is_noticed_even_where_the_numbers_are_reset(numbers):
    chain = [update(a, b) for a, b in pairwise(numbers)]
    for before, after, later in zip(chain, chain[1:], chain[2:], strict=False):
        assert DIALECT.continues(before.last_id, after) is True
        assert DIALECT.continues(before.last_id, later) is False
    assert DIALECT.continues(chain[0].last_id, chain[0]) is None
    assert DIALECT.continues(None, chain[0]) is False


def test_an_update_without_changes_repeats_its_own_number():
    assert DIALECT.continues(15, update(15, 15)) is True


def test_the_market_list_has_spot_and_linear_swaps_in_base_currency():
    spot = (
        b'{"code":"0","msg":"","data":[{"instType":"SPOT","instId":"BTC-USDT","baseCcy":"BTC","quoteCcy":"USDT",'
        b'"tickSz":"0.1","lotSz":"0.00000001","state":"live"},{"instType":"SPOT","instId":"OLD-USDT","baseCcy":"OLD",'
        b'"quoteCcy":"USDT","tickSz":"0.1","lotSz":"1","state":"suspend"}]}'
    )
    swap = (
        b'{"code":"0","msg":"","data":[{"instType":"SWAP","instId":"BTC-USDT-SWAP","baseCcy":"","quoteCcy":"",'
        b'"settleCcy":"USDT","ctVal":"0.01","ctValCcy":"BTC","ctType":"linear","tickSz":"0.1","lotSz":"0.01",'
        b'"state":"live"},{"instType":"SWAP","instId":"BTC-USD-SWAP","settleCcy":"BTC","ctVal":"100","ctValCcy":"USD",'
        b'"ctType":"inverse","tickSz":"0.1","lotSz":"1","state":"live"}]}'
    )
    assert DIALECT.decode_markets([spot, swap]) == [
        Instrument("okx", "BTC-USDT", "BTC", "USDT", tick_size="0.1", lot_size="0.00000001"),
        SWAP,
    ]


def test_swaps_are_named_by_what_they_are_quoted_in_and_not_by_what_they_settle_in():
    rows = [
        {"instId": name, "settleCcy": "USDC", "ctVal": "1", "ctValCcy": "BTC", "ctType": "linear", "state": "live"}
        | {"tickSz": "1", "lotSz": "1"}
        for name in ("BTC-USDC-SWAP", "BTC-USD_UM-SWAP", "BTC-USD_UM_XPERP-SWAP")
    ]
    body = msgspec.json.encode({"code": "0", "data": rows})
    listed = DIALECT.decode_markets([b'{"code":"0","data":[]}', body])
    assert [instrument.symbol for instrument in listed] == ["BTC-USDC.P", "BTC-USD.P", "BTC-USD.P"]


@pytest.mark.parametrize(("instrument", "volume"), [(SPOT, "45247"), (SWAP, "0.15")])
def test_candles_count_base_currency(instrument, volume):
    body = b'{"code":"0","msg":"","data":[["1597026383085","3.721","3.743","3.677","3.708","45247","0.15","1.1","1"]]}'
    assert DIALECT.decode_klines(instrument, body) == [Kline(1597026383085, "3.721", "3.743", "3.677", "3.708", volume)]


def test_history_without_an_id_begins_at_a_time():
    request = DIALECT.history(HistoryQuery(SPOT, None, None, 1_000_000, 5_000_000))
    assert request.params == {"instId": "BTC-USDT", "limit": "100", "type": "2", "after": "6"}


def test_an_error_body_is_a_rejection_that_says_whether_to_ask_again():
    with pytest.raises(Rejected, match="doesn't exist") as unknown:
        DIALECT.decode_klines(SPOT, b'{"code":"51001","msg":"Instrument ID doesn\'t exist","data":[]}')
    with pytest.raises(Rejected) as busy:
        DIALECT.decode_klines(SPOT, b'{"code":"50011","msg":"Too Many Requests","data":[]}')
    assert (unknown.value.is_transient, busy.value.is_transient) == (False, True)
