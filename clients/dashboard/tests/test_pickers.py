"""The boxes that choose a market, drawn without a browser."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def boxes() -> None:
    import streamlit as st

    from crosstape.dashboard.pages import pickers

    if not st.checkbox("elsewhere"):
        st.text(pickers.interval())


def test_every_choice_counts_also_the_one_after_another_and_outlives_the_page() -> None:
    app = AppTest.from_function(boxes).run()
    shown = [app.text[0].value]
    for choice in ("1s", "1d", "5m"):
        app.selectbox[0].select(choice).run()
        shown.append(app.text[0].value)
    app.checkbox[0].check().run()
    app.checkbox[0].uncheck().run()
    assert [*shown, app.text[0].value] == ["1m", "1s", "1d", "5m", "5m"]
