"""The app: who is not signed in sees the sign-in page, everybody else the pages in the bar on top."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from crosstape.dashboard import signed_in
from crosstape.dashboard.pages import account, completeness, playground, sign_in, trade

st.set_page_config(page_title="Crosstape", page_icon=":material/candlestick_chart:", layout="wide")
st.html(Path(__file__).with_name("style.css"))

pages = [
    st.Page(trade.page, title="Trade", icon=":material/candlestick_chart:", url_path="trade", default=True),
    st.Page(completeness.page, title="Completeness", icon=":material/grid_on:", url_path="completeness"),
    st.Page(playground.page, title="API", icon=":material/terminal:", url_path="api"),
    st.Page(account.page, title="Account", icon=":material/person:", url_path="account"),
]
if signed_in.account() is None:
    # In the page's place and not a page of its own: a fragment of the page, asked for while it goes, would be answered
    # after the sign-in page, and the browser empties its window when an answer is of another page.
    st.navigation(pages, position="hidden")
    sign_in.page()
else:
    st.navigation(pages, position="top").run()
