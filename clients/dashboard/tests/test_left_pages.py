"""Whose requests are taken while a window changes its page."""

from __future__ import annotations

import pytest
from streamlit.proto.ClientState_pb2 import ClientState
from streamlit.runtime.app_session import AppSession

from crosstape.dashboard.left_pages import drop_their_requests

OPENED = ClientState()
TO_ACCOUNT = ClientState(page_script_hash="account")
OF_TRADE = ClientState(page_script_hash="trade", fragment_id="book")
OF_ACCOUNT = ClientState(page_script_hash="account", fragment_id="keys")


class Window(AppSession):
    """A session that was never started; `taken` is what Streamlit would answer."""

    def __init__(self) -> None:
        self.taken: list[ClientState | None] = []

    def __del__(self) -> None:
        """There is nothing to end."""

    def ask(self, *states: ClientState | None) -> list[ClientState | None]:
        for state in states:
            self.request_rerun(state)
        return self.taken


@pytest.fixture
def window(monkeypatch: pytest.MonkeyPatch) -> Window:
    monkeypatch.setattr(AppSession, "request_rerun", lambda session, state: session.taken.append(state))
    drop_their_requests()
    return Window()


def test_a_fragment_of_the_page_that_was_left_is_not_answered(window: Window) -> None:
    assert window.ask(OPENED, OF_TRADE, TO_ACCOUNT, OF_TRADE, OF_ACCOUNT) == [OPENED, OF_TRADE, TO_ACCOUNT, OF_ACCOUNT]


def test_another_window_goes_its_own_way(window: Window) -> None:
    window.ask(OPENED, TO_ACCOUNT)
    assert Window().ask(OPENED, OF_TRADE) == [OPENED, OF_TRADE]


def test_what_the_server_asks_for_itself_changes_no_page(window: Window) -> None:
    assert window.ask(TO_ACCOUNT, None, OF_ACCOUNT) == [TO_ACCOUNT, None, OF_ACCOUNT]
