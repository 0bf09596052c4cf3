"""Every operation of the API, made from the served OpenAPI document: fill in, send, read."""

from __future__ import annotations

from typing import Any

import msgspec
import streamlit as st

from crosstape.client import CrosstapeError, RawAnswer, Unauthenticated
from crosstape.dashboard import signed_in
from crosstape.dashboard.operations import Field, Operation, compact_json, curl, operations, pretty_json
from crosstape.dashboard.words import sentence

MOST_SHOWN = 60_000


def page() -> None:
    document = _document()
    found = operations(document)
    groups = list(dict.fromkeys(operation.group for operation in found))
    choosing, operating = st.columns([1, 2.4], gap="medium")
    with choosing:
        group = st.selectbox("Part", groups, format_func=str.capitalize)
        within = [operation for operation in found if operation.group == group]
        operation = st.radio(
            "Operation",
            within,
            format_func=lambda one: f"`{one.method}` {one.path}",
            captions=[one.summary for one in within],
        )
    with operating:
        if operation is not None:
            _operate(operation)


def _operate(operation: Operation) -> None:
    st.subheader(operation.title, anchor=False)
    st.caption(f"{operation.summary}. Needs {operation.needs}." if operation.needs else f"{operation.summary}. Open.")
    if operation.description and not operation.description.startswith("Needs the scope"):
        st.markdown(operation.description)
    halves = st.columns(2)
    values = {}
    for number, field in enumerate(operation.fields):
        with halves[number % 2]:
            values[field.name] = _input(operation, field)
    body = (
        st.text_area("Body (JSON)", operation.body, height=220, key=f"{operation.title}-body") if operation.body else ""
    )
    target = operation.target(values)
    st.code(curl(signed_in.platform_url(), operation, target, body), language="bash", wrap_lines=True)
    is_sure = not operation.changes_account or st.checkbox(
        "I know that this ends or deletes something of mine", key=f"{operation.title}-sure"
    )
    if st.button("Send", type="primary", disabled=not is_sure, key=f"{operation.title}-send"):
        if missing := operation.missing(values):
            st.error(f"Fill in: {', '.join(missing)}.")
        else:
            _send(operation, target, body)


def _input(operation: Operation, field: Field) -> str:
    label = f"{field.name} *" if field.is_required else field.name
    key = f"{operation.title}-{field.name}"
    if field.choices:
        choices = list(field.choices) if field.is_required else ["", *field.choices]
        return st.selectbox(label, choices, help=field.description or None, key=key) or ""
    value = field.example if field.is_required else ""
    return st.text_input(label, value, help=field.description or None, placeholder=field.example or None, key=key)


def _send(operation: Operation, target: str, body: str) -> None:
    account = signed_in.account()
    if account is None:
        st.stop()
    try:
        with st.spinner("Sending…"):
            answer = account.client.send(operation.method, target, compact_json(body).encode() if body else None)
    except CrosstapeError as error:
        st.error(sentence(error))
        return
    _show(answer)


def _show(answer: RawAnswer) -> None:
    color = "green" if answer.status < 300 else "orange" if answer.status < 500 else "red"
    st.markdown(f":{color}-badge[**{answer.status}**] in {answer.seconds * 1000:.0f} ms, {len(answer.body):,} bytes")
    body, headers = st.tabs(["Body", "Headers"])
    with body:
        if len(answer.body) > MOST_SHOWN:
            st.caption(f"The first {MOST_SHOWN:,} characters.")
        st.code(pretty_json(answer.body)[:MOST_SHOWN] or "(empty)", language="json", wrap_lines=True, height=420)
    with headers:
        st.code("\n".join(f"{name}: {value}" for name, value in answer.headers.items()), language=None, wrap_lines=True)


def _document() -> dict[str, Any]:
    """The OpenAPI document; it is read once a session. Says why and ends the script when it cannot be had."""
    if "openapi" not in st.session_state:
        account = signed_in.account()
        if account is None:
            st.stop()
        try:
            answer = account.client.send("GET", "/openapi.json")
            st.session_state["openapi"] = msgspec.json.decode(answer.body, type=dict[str, Any])
        except Unauthenticated:
            signed_in.expired()
        except (CrosstapeError, msgspec.MsgspecError) as error:
            st.error(
                sentence(error) if isinstance(error, CrosstapeError) else "The platform serves no OpenAPI document."
            )
            st.stop()
    document: dict[str, Any] = st.session_state["openapi"]
    return document
