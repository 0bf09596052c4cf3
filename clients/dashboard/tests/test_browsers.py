"""The browser's cookie: a reload keeps what belongs to it, nobody else's key leads there, nothing is kept for ever."""

from __future__ import annotations

from collections.abc import Callable

from starlette.datastructures import Headers
from starlette.responses import PlainTextResponse
from starlette.types import Message

from crosstape.dashboard.browsers import COOKIE, KEPT_SECONDS, OVERLAP_SECONDS, BrowserCookie, Browsers


class Clock:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_renewed_key_leads_where_the_one_before_did_which_soon_leads_nowhere() -> None:
    browsers: Browsers[str] = Browsers(clock := Clock())
    browsers.put("first", "alice")
    second = browsers.renew("first")
    assert (browsers.get(second), browsers.get("first")) == ("alice", "alice")
    clock.now += OVERLAP_SECONDS
    assert (browsers.get(second), browsers.get("first")) == ("alice", None)


def test_a_key_that_was_planted_before_the_sign_in_leads_nowhere_after_it() -> None:
    browsers: Browsers[str] = Browsers()
    own = browsers.renew("planted")
    browsers.put(own, "alice")
    assert browsers.get("planted") is None


def test_who_signs_in_in_the_older_of_two_windows_stays_signed_in() -> None:
    browsers: Browsers[str] = Browsers()
    older = browsers.renew("planted")
    newer = browsers.renew(older)
    browsers.renew("planted")
    browsers.put(older, "alice")
    assert (browsers.get(newer), browsers.get(browsers.renew(newer))) == ("alice", "alice")
    assert browsers.get(browsers.renew("planted")) is None


def test_who_signs_out_is_forgotten_under_every_key_and_nobody_else_is() -> None:
    browsers: Browsers[object] = Browsers()
    alice, bob = object(), object()
    browsers.put("a", alice)
    browsers.put("b", bob)
    renewed = browsers.renew("a")
    browsers.forget(alice)
    assert [browsers.get(key) for key in ("a", renewed, "b")] == [None, None, bob]


def test_who_does_not_come_back_is_let_go_and_a_browser_without_cookies_shares_with_nobody() -> None:
    browsers: Browsers[str] = Browsers(clock := Clock())
    browsers.put("a", "alice")
    browsers.put("", "bob")
    assert browsers.get("") is None
    clock.now += KEPT_SECONDS
    assert browsers.get("a") is None
    assert browsers.get(browsers.renew("a")) is None


async def cookie_of(renew: Callable[[str], str], **headers: str) -> str | None:
    """The Set-Cookie of the answer to a GET with these headers."""
    sent: list[Message] = []
    scope = {
        "type": "http",
        "method": "GET",
        "scheme": "http",
        "server": ("desk.test", 80),
        "path": "/trade",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }

    async def receive() -> Message:
        raise AssertionError("nobody reads the body of a GET")

    async def send(message: Message) -> None:
        sent.append(message)

    await BrowserCookie(PlainTextResponse("here"), renew)(scope, receive, send)
    return Headers(raw=sent[0]["headers"]).get("set-cookie")


async def test_only_pages_bring_a_key_which_no_script_and_no_other_site_can_use() -> None:
    shown: list[str] = []

    def renew(key: str) -> str:
        shown.append(key)
        return "new"

    assert await cookie_of(renew, accept="*/*") is None
    assert await cookie_of(renew, accept="text/html", sec_fetch_dest="iframe") is None
    assert await cookie_of(renew, accept="text/html") == f"{COOKIE}=new; HttpOnly; Path=/; SameSite=strict"
    by_tls = await cookie_of(renew, accept="text/html", x_forwarded_proto="https", cookie=f"{COOKIE}=old")
    assert by_tls == f"{COOKIE}=new; HttpOnly; Path=/; SameSite=strict; Secure"
    assert shown == ["", "old"]
