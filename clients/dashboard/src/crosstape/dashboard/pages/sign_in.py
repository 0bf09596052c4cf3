"""Sign in, or make an account."""

from __future__ import annotations

from collections.abc import Callable

import streamlit as st

from crosstape.client import Conflict, CrosstapeError, Unauthenticated
from crosstape.dashboard import signed_in
from crosstape.dashboard.words import sentence


def page() -> None:
    _, middle, _ = st.columns([1, 1.2, 1])
    with middle:
        st.html('<div class="ct-brand"><h1>Crosstape</h1><p>One exact tape of many exchanges</p></div>')
        if told := signed_in.notice():
            st.warning(told, icon=":material/logout:")
        entering, registering = st.tabs(["Sign in", "Register"])
        with entering:
            _form("sign-in", "Sign in", signed_in.sign_in, "")
        with registering:
            _form("register", "Create account", signed_in.register, "At least 8 characters that nobody guesses.")
        st.caption(f"Platform: {signed_in.platform_url()}")


def _form(key: str, action: str, enter: Callable[[str, str], None], hint: str) -> None:
    with st.form(key, border=False):
        username = st.text_input("Username", autocomplete="username", max_chars=64)
        password = st.text_input(
            "Password",
            type="password",
            max_chars=256,
            help=hint or None,
            autocomplete="new-password" if hint else "current-password",
        )
        if not st.form_submit_button(action, type="primary", width="stretch"):
            return
    if not username.strip() or not password:
        st.error("Write a username and a password.")
        return
    try:
        with st.spinner("One moment…"):
            enter(username.strip(), password)
    except Unauthenticated:
        st.error("The username or the password is wrong.")
    except Conflict:
        st.error("This username is taken. Choose another, or sign in.")
    except CrosstapeError as error:
        st.error(sentence(error))
    else:
        st.rerun()
