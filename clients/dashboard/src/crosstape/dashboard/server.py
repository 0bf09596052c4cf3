"""The app as Streamlit serves it: with the cookie by which a browser is known again."""

from __future__ import annotations

from pathlib import Path

from starlette.middleware import Middleware
from streamlit.starlette import App

from crosstape.dashboard.browsers import BrowserCookie
from crosstape.dashboard.left_pages import drop_their_requests
from crosstape.dashboard.signed_in import BROWSERS

drop_their_requests()
app = App(Path(__file__).with_name("app.py"), middleware=[Middleware(BrowserCookie, renew=BROWSERS.renew)])
