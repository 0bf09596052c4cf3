"""The trading page: chart, book, tape, ticket and orders of one market, each renewed every second by itself."""

from __future__ import annotations

import datetime as dt
import time
import uuid

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from crosstape.client import CrosstapeError, Order, Unauthenticated
from crosstape.client.orders import Side
from crosstape.dashboard import book_view, order_view, signed_in, tape_view
from crosstape.dashboard.chart.component import chart
from crosstape.dashboard.chart.payload import Have, payload
from crosstape.dashboard.follower import Link
from crosstape.dashboard.market import Market
from crosstape.dashboard.markup import text
from crosstape.dashboard.order_view import ALL_EXCHANGES, Ticket
from crosstape.dashboard.pages import pickers
from crosstape.dashboard.symbols import consolidated
from crosstape.dashboard.words import plain, sentence

EVERY = 1.0
CHART_KEY = "chart"
SUBMISSION = "submission"
"""Where the session keeps what is sent until it is accepted."""

CHART_ORDERS = 4
"""The newest orders of a market are drawn on its chart, and no more, so that it stays readable."""


def page() -> None:
    with st.container(key="ct-pickers"):
        choosing, length, figures = st.columns([2, 0.8, 4], vertical_alignment="bottom")
        with choosing:
            exchange, symbol = pickers.exchange_and_symbol()
        with length:
            market = Market(exchange, symbol, pickers.interval())
    with st.container(key="ct-desk"):
        wide, middle, narrow = st.columns([2.9, 1.15, 1], gap="small")
    with wide:
        _chart(market)
    with middle.container(key="ct-side"):
        _side(market)
    with figures:  # after the side, which follows this market's book: until then there is the last one's
        _figures(market)
    with narrow.container(key="ct-ticket"):
        _ticket(market)
    with st.container(key="ct-orders"):
        _orders()


@st.fragment(run_every=EVERY)
def _figures(market: Market) -> None:
    feed = signed_in.feeds().follow(market)
    st.html(tape_view.headline(feed.state(), feed.today(), _gap()))


@st.fragment(run_every=EVERY)
def _chart(market: Market) -> None:
    feeds = signed_in.feeds()
    feed = feeds.follow(market)
    have = Have.of(st.session_state.get(CHART_KEY))
    try:
        if have.older_than is not None:
            feed.load_older(have.older_than)
    except CrosstapeError as error:
        st.toast(sentence(error))
    state = feed.state()
    with _place():
        _banner(_worse(state.link, feeds.trading.link))
    orders = [order for order in feeds.trading.known_orders() if _is_of(order, market)][:CHART_ORDERS]
    chart(payload(state, orders, have), CHART_KEY)


@st.fragment(run_every=EVERY)
def _side(market: Market) -> None:
    trading = signed_in.feeds().trading
    scope = st.segmented_control(
        "Book of",
        ["All exchanges", market.exchange],
        default="All exchanges",
        label_visibility="collapsed",
        key="scope",
    )
    if scope == market.exchange:
        trading.follow_book(market.exchange, market.symbol)
    else:
        trading.follow_book("*", consolidated(market.symbol))
    state = trading.book()
    with _place():
        if told := book_view.notice(state, time.monotonic()):
            st.html(text("p", told, css="ct-notice", role="status"))
    ladder, depth, tape = st.tabs(["Book", "Depth", "Tape"])
    with ladder:
        st.html(book_view.ladder(state.book) if state.book else _WAITING)
    with depth:
        st.html(book_view.depth_chart(state.book) + book_view.venues(state.book) if state.book else _WAITING)
    with tape:
        trades = signed_in.feeds().follow(market).state().trades
        st.html(tape_view.tape(trades) if trades else '<p class="ct-empty">No trades since you came.</p>')


def _place() -> DeltaGenerator:
    """For what comes and goes: what stands below it would be drawn anew where its place changed, and tabs forget which
    of them was chosen."""
    return st.container()


_WAITING = '<p class="ct-empty">Waiting for the book…</p>'


@st.fragment
def _ticket(market: Market) -> None:
    st.subheader("TWAP order", anchor=False)
    side = st.segmented_control(
        "Side",
        ["buy", "sell"],
        default="buy",
        format_func=str.capitalize,
        label_visibility="collapsed",
        width="stretch",
    )
    exchange = st.selectbox("Fill on", [ALL_EXCHANGES, market.exchange])
    amount, limit = st.columns(2)
    with amount:
        quantity = st.text_input(f"Quantity ({market.symbol.partition('-')[0]})", "0.25")
    with limit:
        limit_price = st.text_input("Limit price", key=(limit_key := f"limit-{market.exchange}-{market.symbol}"))
    is_taken = st.button(
        "Limit from the book",
        help="The best price plus 0.1 % for a buy, minus 0.1 % for a sell",
        on_click=_take_limit,
        args=(limit_key, "sell" if side == "sell" else "buy"),
        type="tertiary",
        icon=":material/vertical_align_center:",
    )
    if is_taken and _gap() is None:  # said here: what a callback draws takes the place of the page's style
        st.toast("There is no book to take a price from at the moment.")
    length, step = st.columns(2)
    with length:
        duration = st.number_input("Duration (s)", min_value=1, max_value=2_592_000, value=60, step=10)
    with step:
        interval = st.number_input("A slice every (s)", min_value=1, max_value=86_400, value=5, step=1)
    ticket = Ticket(
        symbol=market.symbol if exchange == market.exchange else consolidated(market.symbol),
        exchange=exchange or ALL_EXCHANGES,
        side="sell" if side == "sell" else "buy",
        quantity=quantity,
        limit_price=limit_price,
        duration=int(duration),
        interval=int(interval),
    )
    st.caption(ticket.summary())
    if st.button(f"{ticket.side.capitalize()} {market.symbol}", type="primary", width="stretch"):
        _submit(ticket)


def _take_limit(key: str, side: Side) -> None:
    if gap := _gap():
        st.session_state[key] = str(order_view.marketable(side, gap))


def _gap() -> book_view.Spread | None:
    book = signed_in.feeds().trading.book().book
    return book_view.spread(book) if book else None


def _submit(ticket: Ticket) -> None:
    if problems := ticket.problems():
        st.error("\n\n".join(problems))
        return
    feeds = signed_in.feeds()
    sent = order_view.submission(ticket, st.session_state.get(SUBMISSION), f"twap_{uuid.uuid4().hex}")
    st.session_state[SUBMISSION] = sent
    try:
        accepted = feeds.account.client.submit_twap(ticket.order(sent.order_id))
    except Unauthenticated:
        signed_in.expired()
    except CrosstapeError as error:
        st.error(order_view.not_accepted(error))
    else:
        del st.session_state[SUBMISSION]
        feeds.trading.add(accepted.order_id)
        st.success("Accepted. Its fills appear on the chart and below it.")
        for remark in order_view.remarks(accepted):
            st.warning(remark)


@st.fragment(run_every=EVERY)
def _orders() -> None:
    trading = signed_in.feeds().trading
    for event in trading.notices():
        if event.event in ("closed", "cancelled"):
            st.toast(f"Order on {event.symbol}: {event.reason or event.event}, {plain(event.filled_quantity)} filled")
    st.subheader("Orders", anchor=False)
    try:
        orders = trading.orders()
    except Unauthenticated:
        signed_in.expired()
        return
    except CrosstapeError as error:
        st.caption(sentence(error))
        orders = trading.known_orders()
    if not orders:
        st.html('<p class="ct-empty">No orders yet. The ticket sends your first one.</p>')
    now = dt.datetime.now(dt.UTC).replace(tzinfo=None)
    for order in orders:
        if order.status != "open":
            st.html(order_view.card(order, now))
            continue
        body, action = st.columns([8, 1], vertical_alignment="center")
        body.html(order_view.card(order, now))
        if action.button("Cancel", key=f"cancel-{order.order_id}", width="stretch"):
            _cancel(order)


def _cancel(order: Order) -> None:
    trading = signed_in.feeds()
    try:
        trading.account.client.cancel_order(order.order_id)
    except CrosstapeError as error:
        st.toast(sentence(error))
    trading.trading.add(order.order_id)


def _banner(link: Link) -> None:
    if link.state == "signed_out":
        signed_in.expired()
    if link.state == "disconnected":
        st.warning(f"Disconnected. {link.reason}", icon=":material/cloud_off:")
    elif link.state == "refused":
        st.error(link.reason, icon=":material/block:")


def _worse(one: Link, other: Link) -> Link:
    order = ("live", "loading", "disconnected", "refused", "signed_out")
    return max(one, other, key=lambda link: order.index(link.state))


def _is_of(order: Order, market: Market) -> bool:
    """Whether its fills can be on this market's chart."""
    return consolidated(order.symbol) == consolidated(market.symbol) and order.exchange in (None, market.exchange)
