"""Who is signed in in this browser, and their live connection. Nothing of it is kept outside of the process.

The SDK's client, which holds the tokens, lives as long as a session or a browser leads to it. The feeds live as long as
a window is connected: Streamlit lets go of them when it leaves, and they are made anew when it comes back.
"""

from __future__ import annotations

import contextlib
import os
import weakref
from dataclasses import dataclass, field

import streamlit as st

from crosstape.client import Client, CrosstapeError
from crosstape.client.async_client import DEFAULT_URL
from crosstape.dashboard.browsers import COOKIE, Browsers
from crosstape.dashboard.market import Market, MarketFeed
from crosstape.dashboard.trading import TradingFeed
from crosstape.dashboard.visitor import made_for
from crosstape.dashboard.words import SIGNED_OUT

_KEY = "account"
_NOTICE = "notice"
TIMEOUT_SECONDS = 15.0


def platform_url() -> str:
    """Where the platform is."""
    return os.environ.get("CROSSTAPE_URL") or DEFAULT_URL


class Account:
    """Somebody who is signed in, with the client that speaks for them."""

    def __init__(self, username: str, client: Client) -> None:
        self.username = username
        self.client = client
        weakref.finalize(self, client.close)


BROWSERS: Browsers[Account] = Browsers()


@dataclass
class Feeds:
    """The live connection of one browser session: a market's feed, which changes with the market, and the account's."""

    account: Account
    market: MarketFeed | None = None
    trading: TradingFeed = field(init=False)

    def __post_init__(self) -> None:
        self.trading = TradingFeed(self.account.client, self.account.username)
        self.trading.start()

    def follow(self, market: Market) -> MarketFeed:
        """The feed of `market`; one of another market is ended."""
        if self.market is None or self.market.market != market:
            if self.market is not None:
                self.market.close()
            self.market = MarketFeed(self.account.client, market)
            self.market.start()
        return self.market

    def close(self) -> None:
        """End both."""
        self.trading.close()
        if self.market is not None:
            self.market.close()


@st.cache_resource(scope="session", on_release=Feeds.close, show_spinner=False)
def _feeds(_account: Account, number: int) -> Feeds:
    """`number` tells one account's feeds from the next's: `_account` itself is no part of the cache's key."""
    return Feeds(_account)


def account() -> Account | None:
    """Who is signed in, in this window or, when it was loaded anew, in this browser."""
    found = st.session_state.get(_KEY) or BROWSERS.get(_browser())
    if not isinstance(found, Account):
        return None
    st.session_state[_KEY] = found
    return found


def feeds() -> Feeds:
    """The live connection of who is signed in. Raises RuntimeError when nobody is."""
    signed_in = account()
    if signed_in is None:
        raise RuntimeError("nobody is signed in")
    return _feeds(signed_in, id(signed_in))


def sign_in(username: str, password: str) -> None:
    """Log in. Raises CrosstapeError."""
    client = _client()
    try:
        client.login(username, password)
    except CrosstapeError:
        client.close()
        raise
    st.session_state.pop(_NOTICE, None)
    st.session_state[_KEY] = entered = Account(username, client)
    BROWSERS.put(_browser(), entered)


def register(username: str, password: str) -> None:
    """Make an account and log in to it. Raises CrosstapeError."""
    with _client() as client:
        client.register(username, password)
    sign_in(username, password)


def sign_out() -> None:
    """End the login on the platform, and everything of it here."""
    if (signed_in := account()) is None:
        return
    with contextlib.suppress(CrosstapeError):  # the login ends by itself; here it is over in any case
        signed_in.client.logoff()
    forget()


def forget(notice: str = "") -> None:
    """Go back to the sign-in page, which then shows `notice`."""
    if (known := account()) is not None:
        BROWSERS.forget(known)
    _feeds.clear()
    st.session_state.clear()
    if notice:
        st.session_state[_NOTICE] = notice


def expired() -> None:
    """The platform does not accept the login any more: back to the sign-in page."""
    forget(SIGNED_OUT)
    st.rerun()


def notice() -> str:
    """What the sign-in page has to say."""
    return str(st.session_state.get(_NOTICE, ""))


def _client() -> Client:
    headers = made_for(st.context.headers.get_all("X-Forwarded-For"), st.context.ip_address)
    return Client(platform_url(), timeout=TIMEOUT_SECONDS, headers=headers)


def _browser() -> str:
    return st.context.cookies.get(COOKIE, "")
