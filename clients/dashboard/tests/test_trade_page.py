"""The trading page, drawn without a browser."""

from __future__ import annotations

from decimal import Decimal
from types import SimpleNamespace

import pytest
import streamlit
from streamlit.testing.v1 import AppTest

from crosstape.client import Book, Level
from crosstape.dashboard import signed_in
from crosstape.dashboard.follower import Link
from crosstape.dashboard.market import Market, MarketState
from crosstape.dashboard.pages import pickers, trade
from crosstape.dashboard.trading import BookState


def side() -> None:
    from crosstape.dashboard.market import Market
    from crosstape.dashboard.pages import trade

    trade._side(Market("binance", "BTC-USDT", "1m"))


def ticket() -> None:
    from crosstape.dashboard.market import Market
    from crosstape.dashboard.pages import trade

    trade._ticket(Market("binance", "BTC-USDT", "1m"))


def page() -> None:
    from crosstape.dashboard.pages import trade

    trade.page()


def test_the_headline_of_a_new_market_never_has_the_last_ones_spread(monkeypatch: pytest.MonkeyPatch) -> None:
    level = Level(Decimal(100), Decimal(1))
    last = Book(exchange="binance", symbol="ETH-USDT", bids=(level,), asks=(level,), timestamp=Decimal(1), sequence=1)
    books: list[Book | None] = [last]
    trading = SimpleNamespace(
        follow_book=lambda *_: books.insert(0, None),
        book=lambda: BookState(Link("live"), "book:*:BTC-USD", books[0]),
    )
    market = Market("binance", "BTC-USDT", "1m")
    feed = SimpleNamespace(state=lambda: MarketState(market, Link("live"), (), 0, None, ()), today=lambda: None)
    monkeypatch.setattr(signed_in, "feeds", lambda: SimpleNamespace(trading=trading, follow=lambda _: feed))
    monkeypatch.setattr(pickers, "exchange_and_symbol", lambda: ("binance", "BTC-USDT"))
    for part in ("_chart", "_ticket", "_orders"):
        monkeypatch.setattr(trade, part, lambda *_: None)
    app = AppTest.from_function(page).run()
    assert not app.exception
    (headline,) = [drawn.proto.body for drawn in app.get("html") if "ct-figures" in drawn.proto.body]
    assert "<dt>Spread</dt><dd>–</dd>" in headline


def test_that_there_is_no_book_for_a_limit_is_not_said_in_place_of_the_page_s_style(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Which is where Streamlit draws what the callback of a fragment's widget draws."""
    trading = SimpleNamespace(book=lambda: BookState(Link("live"), "book:*:BTC-USD", None))
    monkeypatch.setattr(signed_in, "feeds", lambda: SimpleNamespace(trading=trading))
    app = AppTest.from_function(ticket).run()
    (button,) = [button for button in app.button if button.label == "Limit from the book"]
    button.click().run()
    assert [toast.value for toast in app.toast] == ["There is no book to take a price from at the moment."]
    drawn: list[str] = []
    monkeypatch.setattr(streamlit, "toast", drawn.append)
    trade._take_limit("limit", "buy")
    assert not drawn


def test_tabs_beside_the_chart_keep_their_place_while_a_notice_comes_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    states = [BookState(Link("live"), "book:*:BTC-USD", None, reason) for reason in ("", "no snapshot yet", "")]
    trading = SimpleNamespace(follow_book=lambda *_: None, book=lambda: states[0])
    market = SimpleNamespace(state=lambda: SimpleNamespace(trades=()))
    monkeypatch.setattr(signed_in, "feeds", lambda: SimpleNamespace(trading=trading, follow=lambda _: market))
    places = []
    while states:
        app = AppTest.from_function(side).run()
        assert not app.exception
        drawn = app.main.children[0].children
        (place,) = [place for place, block in drawn.items() if block.type == "tab_container"]
        places.append((place, len(app.get("html"))))
        del states[0]
    place, shown = places[0]
    assert places == [(place, shown), (place, shown + 1), (place, shown)]
