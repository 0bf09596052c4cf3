"""Choosing a market: exchange, symbol, and where it matters the length of bars."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from crosstape.client import CrosstapeError, Unauthenticated
from crosstape.client.bars import Interval
from crosstape.dashboard import signed_in
from crosstape.dashboard.intervals import INTERVALS
from crosstape.dashboard.signed_in import Account
from crosstape.dashboard.symbols import ordered, preferred
from crosstape.dashboard.words import sentence


def exchange_and_symbol() -> tuple[str, str]:
    """What is chosen; the choice is one for all pages. Ends the script where there is nothing to choose from."""
    exchange_at, symbol_at = st.columns([1, 1.2])
    exchanges = _exchanges()
    with exchange_at:
        exchange = str(_select("Exchange", exchanges, "exchange", exchanges[0]))
    symbols = ordered(_symbols(exchange))
    if not symbols:
        st.info(f"{exchange} lists no markets at the moment.")
        st.stop()
    with symbol_at:
        symbol = str(_select("Symbol", symbols, "symbol", preferred(symbols, st.session_state.get("chosen-symbol"))))
    return exchange, symbol


def interval() -> Interval:
    """The length of bars that is chosen."""
    chosen = _select("Interval", list(INTERVALS), "interval", "1m")
    return next(known for known in INTERVALS if known == chosen)


def _select(label: str, options: list[str], name: str, otherwise: str) -> str:
    """A box whose choice outlives the page: Streamlit forgets a widget that is not shown.

    It has a key, because one without is another widget, which has lost what was just chosen, once its default changes.
    """
    kept, key = f"chosen-{name}", f"picker-{name}"
    before = st.session_state.get(key, st.session_state.get(kept))
    st.session_state[key] = before if before in options else otherwise
    chosen = str(st.selectbox(label, options, key=key))
    st.session_state[kept] = chosen
    return chosen


def _exchanges() -> list[str]:
    if "exchanges" not in st.session_state:
        st.session_state["exchanges"] = _asked(lambda account: list(account.client.exchanges().exchanges))
    return list(st.session_state["exchanges"])


def _symbols(exchange: str) -> list[str]:
    known = st.session_state.setdefault("symbols", {})
    if not known.get(exchange):
        known[exchange] = _asked(lambda account: list(account.client.symbols(exchange, spelling="canonical").symbols))
    return list(known[exchange])


def _asked(ask: Callable[[Account], list[str]]) -> list[str]:
    """What the platform answers; says why and ends the script when it does not."""
    account = signed_in.account()
    if account is None:
        st.stop()
    try:
        return ask(account)
    except Unauthenticated:
        signed_in.expired()
        st.stop()
    except CrosstapeError as error:
        st.error(sentence(error))
        if st.button("Try again"):
            st.rerun()
        st.stop()
