"""What the tape can hold: judged as a whole and row by row, with one outcome."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crosstape.common.market.soundness import DAY, parts, sound_part
from crosstape.common.market.trade import Source, TradeBatch, batch_columns, batch_trades
from crosstape.common.testing.builders import UNSOUND, make_trade

NOW = 1_751_328_002_000_000_000


def batch(**columns: Any) -> TradeBatch:
    whole = batch_trades([make_trade(i) for i in range(1, 4)], Source.STREAM).columns()
    return batch_columns("binance", "BTC-USDT", Source.STREAM, whole._replace(**columns))


@pytest.mark.parametrize(("reason", "fields"), UNSOUND)
def test_one_unsound_trade_is_left_out_alone_and_its_field_named(reason: str, fields: dict[str, Any]) -> None:
    sent = batch_trades([make_trade(1), make_trade(**{"trade_id": 2} | fields), make_trade(3)], Source.STREAM)
    found = parts(sent, NOW)
    assert {reason: len(part) for reason, part in found.items()} == {None: 2, reason: 1}
    assert sound_part(sent, NOW) == found[None]


@pytest.mark.parametrize("name", ["", "a\n", "x" * 129])
def test_of_a_market_without_a_name_there_is_nothing(name: str) -> None:
    sent = batch_trades([make_trade(1, symbol=name)], Source.STREAM)
    assert (sound_part(sent, NOW), [*parts(sent, NOW)]) == (None, ["market"])


@given(
    st.lists(st.integers(-1, 2**63 - 1) | st.sampled_from(["a", "b-1", "", "\x7f"]), min_size=3, max_size=3),
    st.lists(st.sampled_from([NOW, NOW + DAY, NOW + DAY + 1, 0]), min_size=3, max_size=3),
    st.lists(st.text("0123456789.e-", max_size=4), min_size=3, max_size=3),
    st.lists(st.integers(-2, 2), min_size=3, max_size=3),
    st.lists(st.integers(-1, 1), min_size=3, max_size=3),
)
def test_a_batch_is_sound_as_a_whole_when_each_of_its_trades_is(ids, times, prices, sides, received) -> None:
    sent = batch(trade_id=ids, time=times, price=prices, side=sides, time_received=received)
    sound = parts(sent, NOW).get(None)
    assert sound_part(sent, NOW) == sound
    assert (sound_part(sent, NOW) is sent) == (sound is not None and len(sound) == 3)
