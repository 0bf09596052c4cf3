"""HTML from text that is not ours: everything is escaped here, once. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape


def tag(name: str, *content: str, css: str = "", style: str = "", **attributes: str) -> str:
    """An element; `content` is markup already, attributes are escaped."""
    given = {"class": css, "style": style, **{key.rstrip("_").replace("_", "-"): at for key, at in attributes.items()}}
    written = "".join(f' {key}="{escape(value)}"' for key, value in given.items() if value)
    return f"<{name}{written}>{''.join(content)}</{name}>"


def text(name: str, content: str, css: str = "", **attributes: str) -> str:
    """An element that holds plain text."""
    return tag(name, escape(content), css=css, **attributes)


def table(head: Iterable[str], rows: Iterable[str], css: str) -> str:
    """A table with a head of plain words and rows of markup."""
    heads = "".join(text("th", word, scope="col") for word in head)
    return tag("table", tag("thead", tag("tr", heads)), tag("tbody", *rows), css=css)
