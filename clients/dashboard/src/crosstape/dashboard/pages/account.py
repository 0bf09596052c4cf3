"""The account: API keys, password, the platform's own state, signing out, deleting everything."""

from __future__ import annotations

import datetime as dt
from typing import get_args

import streamlit as st

from crosstape.client import ApiKey, Client, CrosstapeError, NewApiKey, Scope, Unauthenticated
from crosstape.dashboard import signed_in
from crosstape.dashboard.words import sentence

LIVES = {"1 day": 86_400, "30 days": 30 * 86_400, "1 year": 365 * 86_400, "for ever": None}


def page() -> None:
    account = signed_in.account()
    if account is None:
        st.stop()
    head, leave = st.columns([4, 1], vertical_alignment="bottom")
    head.subheader(account.username, anchor=False)
    if leave.button("Sign out", icon=":material/logout:", width="stretch"):
        signed_in.sign_out()
        st.rerun()
    keys, password, platform = st.tabs(["API keys", "Password and account", "Platform"])
    with keys:
        _keys(account.client)
    with password:
        _password(account.client)
        _unregister(account.client, account.username)
    with platform:
        _platform(account.client)


def _keys(client: Client) -> None:
    created = st.session_state.pop("new-key", None)
    if isinstance(created, NewApiKey):
        st.success(f"This is the key “{created.name}”. Copy it now: it is never shown again.")
        st.code(created.api_key, language=None)
    try:
        keys = client.api_keys()
    except Unauthenticated:
        signed_in.expired()
        return
    except CrosstapeError as error:
        st.error(sentence(error))
        return
    if not keys:
        st.caption("No keys yet. A program shows one as `Authorization: Bearer ctk_…`.")
    for key in keys:
        _key(client, key)
    with st.form("new-key-form"):
        st.markdown("**New key**")
        name = st.text_input("Name", placeholder="backtest notebook", max_chars=64)
        scopes = st.multiselect("What it may do", get_args(Scope), default=["market:read"])
        life = st.selectbox("Valid", list(LIVES), index=1)
        if st.form_submit_button("Create key", type="primary"):
            _create(client, name, scopes, LIVES[life])


def _key(client: Client, key: ApiKey) -> None:
    with st.container(border=True):
        told, action = st.columns([5, 1], vertical_alignment="center")
        used = "never used" if key.last_used_at is None else f"last used {key.last_used_at:%Y-%m-%d %H:%M} UTC"
        ends = "no expiry" if key.expires_at is None else f"until {key.expires_at:%Y-%m-%d %H:%M} UTC"
        is_over = key.expires_at is not None and _aware(key.expires_at) < dt.datetime.now(dt.UTC)
        told.markdown(f"**{_text(key.name)}** `{key.prefix}…`{' :red-badge[expired]' if is_over else ''}")
        told.caption(f"{', '.join(key.scopes)} · {ends} · {used}")
        with action.popover("Revoke"):
            st.write("Programs that use it are refused at once.")
            if st.button("Revoke now", key=f"revoke-{key.id}", type="primary"):
                try:
                    client.revoke_api_key(key.id)
                except CrosstapeError as error:
                    st.error(sentence(error))
                else:
                    st.rerun()


def _create(client: Client, name: str, scopes: list[Scope], seconds: int | None) -> None:
    if not name.strip() or not scopes:
        st.error("Give it a name and at least one right.")
        return
    expires_at = None if seconds is None else dt.datetime.now(dt.UTC) + dt.timedelta(seconds=seconds)
    try:
        st.session_state["new-key"] = client.create_api_key(name.strip(), scopes=scopes, expires_at=expires_at)
    except CrosstapeError as error:
        st.error(sentence(error))
    else:
        st.rerun()


def _password(client: Client) -> None:
    with st.form("password", clear_on_submit=True):
        st.markdown("**Change the password**")
        current = st.text_input("Current password", type="password", autocomplete="current-password")
        new = st.text_input("New password", type="password", autocomplete="new-password")
        if st.form_submit_button("Change"):
            try:
                client.change_password(current, new)
            except CrosstapeError as error:
                st.error("The current password is wrong." if isinstance(error, Unauthenticated) else sentence(error))
            else:
                st.success("Changed. Every other login of yours has ended.")


def _unregister(client: Client, username: str) -> None:
    with st.expander("Delete this account"):
        st.write(
            "Your login, your API keys and your access end at once, and your open orders are cancelled. "
            "There is no way back."
        )
        typed = st.text_input("Write your username to confirm", key="confirm-name")
        if st.button("Delete for ever", disabled=typed != username):
            try:
                client.unregister()
            except CrosstapeError as error:
                st.error(sentence(error))
            else:
                signed_in.forget("Your account has been deleted.")
                st.rerun()


def _platform(client: Client) -> None:
    try:
        readiness = client.readiness()
    except CrosstapeError as error:
        st.error(sentence(error))
        return
    st.markdown(f"The platform is **{readiness.status}**, version {readiness.version}, at {signed_in.platform_url()}.")
    rows = [
        {
            "Part": name,
            "State": check.status,
            "Answers in (ms)": check.response_time_ms,
            "Last event (ms ago)": check.last_event_age_ms,
        }
        for name, check in readiness.checks.items()
    ]
    st.dataframe(rows, hide_index=True, width="stretch")


def _aware(moment: dt.datetime) -> dt.datetime:
    return moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)


def _text(written: str) -> str:
    """A name as plain text in Markdown."""
    return "".join(f"\\{sign}" if sign in r"\`*_{}[]()#+-.!|<>:$~" else sign for sign in written)
