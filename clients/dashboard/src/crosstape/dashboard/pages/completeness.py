"""The ledger of a market: which minutes are whole, which were repaired, which lack trades."""

from __future__ import annotations

import time

import streamlit as st

from crosstape.client import CrosstapeError, Minute, Unauthenticated
from crosstape.dashboard import minutes as ledger
from crosstape.dashboard import signed_in
from crosstape.dashboard.pages import pickers
from crosstape.dashboard.words import sentence

EVERY = 15.0
RANGES = {"1 hour": 1, "6 hours": 6, "24 hours": 24, "3 days": 72, "7 days": 168}
MOST_IDS = 500


def page() -> None:
    with st.container(key="ct-pickers"):
        choosing, ranging = st.columns([2, 2], vertical_alignment="bottom")
        with choosing:
            exchange, symbol = pickers.exchange_and_symbol()
        with ranging:
            chosen = st.segmented_control("Range", list(RANGES), default="6 hours")
    _map(exchange, symbol, RANGES[chosen or "6 hours"])


@st.fragment(run_every=EVERY)
def _map(exchange: str, symbol: str, hours: int) -> None:
    account = signed_in.account()
    if account is None:
        st.stop()
    now = int(time.time())
    start = now // ledger.HOUR * ledger.HOUR - (hours - 1) * ledger.HOUR
    minutes: list[Minute] = []
    missing: list[tuple[int, int]] = []
    try:
        for page_ in account.client.completeness(exchange, symbol, start=start, end=now).pages():
            minutes.extend(page_.minutes)
            missing.extend(page_.missing_ids)
    except Unauthenticated:
        signed_in.expired()
    except CrosstapeError as error:
        st.error(sentence(error))
        return
    if not any(minute.status != "unknown" or minute.trades for minute in minutes):
        st.info(f"Nothing is known of {symbol} on {exchange} in this time: it was not recorded.")
    share = ledger.completeness(minutes)
    found = ledger.counts(minutes)
    figures = st.columns(4)
    figures[0].metric("Judged minutes without a gap", "–" if share is None else f"{share * 100:.2f} %")
    figures[1].metric("Repaired minutes", f"{found['repaired']:,}")
    figures[2].metric("Minutes with a gap", f"{found['gap']:,}")
    figures[3].metric("Trades", f"{sum(minute.trades for minute in minutes):,}")
    st.html(ledger.legend(minutes))
    st.html(ledger.heat_map(minutes))
    _incidents(minutes)
    _missing(missing)


def _incidents(minutes: list[Minute]) -> None:
    st.subheader("What was missing", anchor=False)
    if found := ledger.incidents(minutes):
        st.dataframe(found, hide_index=True, width="stretch")
    else:
        st.caption("No gap and no repair in this time.")


def _missing(ids: list[tuple[int, int]]) -> None:
    st.subheader("Missing trade ids", anchor=False)
    if not ids:
        st.caption("None.")
        return
    rows = [{"First": str(first), "Last": str(last), "Trades": last - first + 1} for first, last in ids[:MOST_IDS]]
    st.dataframe(rows, hide_index=True, width="stretch")
    if len(ids) > MOST_IDS:
        st.caption(f"The first {MOST_IDS} of {len(ids):,} ranges.")
