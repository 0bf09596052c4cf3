"""The dashboard in headless Chromium against a running demo: what a trader does and sees in their first minutes."""

from __future__ import annotations

import os
import re
import signal
import time
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Browser, sync_playwright

from crosstape.client import Client
from tests.browser.desk import PASSWORD, WAIT_SECONDS, Desk, new_desk
from tests.demo import Demo
from tests.engines.chromium import NoChromium, chromium

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(400)]

NEW_PASSWORD = "a battery staple that is correct"
OPEN_SOCKETS = b"crosstape_hub_sockets "


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; the tests are skipped where none can be had."""
    try:
        found = chromium()
    except NoChromium as reason:
        pytest.skip(str(reason))
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(
            executable_path=found.program,
            env={**os.environ, **found.environment},
            args=["--no-sandbox", "--disable-dev-shm-usage"],  # its sandbox refuses root; what it loads is ours
            timeout=WAIT_SECONDS * 1_000,
        )
        yield launched
        launched.close()


@pytest.fixture(scope="module")
def platform(browser: Browser, demo: Demo) -> Demo:
    """A demo that runs; started only where there is a browser for it."""
    demo.begin()
    return demo


@pytest.fixture(scope="module")
def desk(browser: Browser, platform: Demo) -> Iterator[Desk]:
    """A wide window in which a new account is signed in, on the trading page, with bars on the chart."""
    opened = new_desk(browser, platform.run.dashboard_url)
    opened.open()
    opened.enter("Register", "alice", PASSWORD)
    opened.until(lambda: opened.page.locator(".ct-book .ct-bid").count() > 3, "a book")
    opened.until(lambda: opened.drawn("bars") not in ("", "0"), "bars on the chart")
    yield opened
    opened.close()


def test_wrong_password_is_refused_in_a_sentence(browser: Browser, platform: Demo) -> None:
    desk = new_desk(browser, platform.run.dashboard_url)
    desk.open()
    desk.enter("Sign in", "nobody", "not the password")
    desk.page.get_by_text("The username or the password is wrong.").wait_for()
    desk.shoot("sign-in")
    assert desk.errors == []
    desk.close()


def test_chart_and_book_move_without_the_chart_being_drawn_anew(desk: Desk) -> None:
    assert desk.drawn("market") == "binance|BTC-USDT|1m"
    desk.until(lambda: desk.drawn("state") == "live", "the chart to be live")
    bars, book = int(desk.drawn("bars")), desk.book()

    def newest() -> tuple[str, str]:
        return desk.drawn("time"), desk.drawn("volume")

    def moves() -> bool:
        """Whether the newest bar changes and nothing is drawn anew for it, as it is once, when the typeface arrives."""
        redraws, before = desk.drawn("redraws"), newest()
        desk.until(lambda: newest() != before, "the newest bar to change")
        return desk.drawn("redraws") == redraws

    desk.until(moves, "the newest bar to change in the chart that is there")
    desk.until(lambda: desk.book() != book, "the book to change")
    assert int(desk.drawn("bars")) >= bars
    desk.until(lambda: {"binance", "kraken"} <= set(desk.book().split()), "both exchanges in the book")
    desk.page.get_by_role("tab", name="Tape").click()
    assert re.search(r"\d\d:\d\d:\d\d", desk.page.locator(".ct-tape tbody").inner_text())
    desk.page.get_by_role("tab", name="Depth").click()
    desk.page.locator(".ct-depths .ct-asks").wait_for()
    desk.page.get_by_role("tab", name="Book").click()


def test_every_change_of_the_interval_is_followed(desk: Desk) -> None:
    page = desk.page
    for interval in ("5m", "1d", "1s"):
        page.get_by_role("combobox", name="Interval").click()
        page.get_by_role("option", name=interval, exact=True).click()
        desk.chart.locator(f'html[data-market="binance|BTC-USDT|{interval}"]').wait_for(state="attached")
    page.get_by_role("combobox", name="Interval").click()
    page.get_by_role("option", name="1m", exact=True).click()
    desk.until(lambda: desk.drawn("market") == "binance|BTC-USDT|1m", "bars of a minute")


def test_twap_order_fills_and_is_drawn_on_the_chart(desk: Desk) -> None:
    page = desk.page
    page.get_by_role("button", name="Limit from the book").click()
    limit = page.get_by_label("Limit price")
    desk.until(limit.input_value, "a limit price from the book")
    page.get_by_label("Quantity (BTC)").fill("0.05")
    page.get_by_label("Duration (s)").fill("8")
    page.get_by_label("A slice every (s)").fill("2")
    page.keyboard.press("Enter")
    page.get_by_text("5 slices of about 0.0100").wait_for()
    page.get_by_role("button", name="Buy BTC-USDT").click()
    desk.until(lambda: page.locator(".ct-order").count() == 1, "the order's card")
    desk.until(lambda: int(desk.order().get_attribute("data-fills") or 0) > 0, "a fill")
    desk.until(lambda: int(desk.drawn("fills") or 0) > 0, "fills on the chart")
    desk.until(lambda: desk.drawn("benchmarks") == "1", "the benchmark's line on the chart")
    desk.shoot("trade-light")
    desk.until(lambda: desk.order().get_attribute("data-status") == "completed", "the order to be completed")
    assert desk.order().get_attribute("data-filled") == "1.0000"


def test_completeness_is_shown_minute_by_minute(desk: Desk) -> None:
    desk.go("Completeness")
    cells = desk.page.locator(".ct-map i")
    cells.first.wait_for()
    assert re.search(r"UTC: (complete|unknown|repaired|quiet|gap)", cells.first.get_attribute("title") or "")
    desk.page.get_by_text("Missing trade ids").wait_for()
    desk.shoot("completeness")


def test_playground_sends_what_its_form_says(desk: Desk) -> None:
    page = desk.page
    desk.go("API")
    page.get_by_role("combobox", name="Part").click()
    page.get_by_role("option", name="Trades").click()
    page.get_by_role("heading", name="GET /api/v1/trades/{exchange}/{symbol}").wait_for()
    page.get_by_label("limit", exact=True).fill("2")
    page.keyboard.press("Enter")
    page.get_by_text("limit=2").wait_for()
    page.get_by_role("button", name="Send").click()
    page.get_by_text(re.compile(r"200 ?in \d+ ms")).wait_for()
    page.get_by_text('"trade_id"').first.wait_for()  # the body is drawn after its status
    desk.shoot("playground")


def test_phone_in_dark_mode_has_every_page_without_scrolling_sideways(browser: Browser, platform: Demo) -> None:
    desk = new_desk(browser, platform.run.dashboard_url, width=390, height=844, scheme="dark")
    desk.open()
    desk.enter("Register", "bob", PASSWORD)
    desk.until(lambda: desk.drawn("bars") not in ("", "0"), "bars on the chart")
    assert desk.drawn("theme") == "dark"
    desk.page.evaluate("document.fonts.ready")
    desk.shoot("trade-phone-dark")
    desk.until(lambda: desk.overflow() <= 0, "the page to fit the window")
    for name, landmark in (("Completeness", ".ct-map"), ("API", "text=Operation"), ("Account", "text=New key")):
        desk.go(name)
        desk.page.locator(landmark).first.wait_for()
        desk.until(lambda: desk.overflow() <= 0, f"{name} to fit the window")
    assert desk.errors == []
    desk.close()


def test_lost_platform_is_told_and_left_behind_when_it_is_back(desk: Desk, platform: Demo) -> None:
    desk.go("Trade")
    desk.until(lambda: desk.drawn("state") == "live", "the chart to be live")
    assert desk.errors == []
    run, banner = platform.run, desk.page.get_by_text("Disconnected.").first
    gateway = next(listing for listing in run.processes if listing.name == "gateway")
    os.kill(run.pid, signal.SIGSTOP)  # who starts it again, which may be sooner than the page is renewed
    try:
        os.kill(gateway.pid, signal.SIGKILL)
        banner.wait_for()
    finally:
        os.kill(run.pid, signal.SIGCONT)
    banner.wait_for(state="hidden")
    before = (desk.drawn("time"), desk.drawn("volume"))
    desk.until(lambda: (desk.drawn("time"), desk.drawn("volume")) != before, "the chart to move again")


def test_signing_out_ends_the_session_and_signing_in_comes_back_to_the_same_page(desk: Desk) -> None:
    desk.go("Account")
    desk.page.get_by_role("button", name="Sign out").click()
    desk.page.get_by_role("tab", name="Register").wait_for()
    assert not desk.page.get_by_role("link", name="Trade").is_visible()
    desk.enter("Sign in", "alice", PASSWORD)
    desk.page.get_by_text("New key").first.wait_for()
    desk.go("Trade")
    desk.until(lambda: desk.drawn("bars") not in ("", "0"), "bars on the chart")


def test_a_reload_and_a_second_window_stay_signed_in_until_one_of_them_signs_out(desk: Desk) -> None:
    desk.open()
    desk.until(lambda: desk.drawn("bars") not in ("", "0"), "bars on the chart")
    second = desk.second_window()
    second.open()
    second.go("Account")
    second.page.get_by_role("button", name="Sign out").click()
    second.page.get_by_role("tab", name="Register").wait_for()
    second.open()
    second.page.get_by_role("tab", name="Register").wait_for()
    desk.page.get_by_text("Your session has ended. Sign in again to go on.").wait_for()
    desk.enter("Sign in", "alice", PASSWORD)
    desk.until(lambda: desk.drawn("bars") not in ("", "0"), "bars on the chart")
    second.page.close()


def test_a_login_that_was_ended_elsewhere_goes_back_to_the_sign_in_page(desk: Desk, platform: Demo) -> None:
    with Client(platform.run.gateway_url) as elsewhere:
        elsewhere.login("alice", PASSWORD)
        elsewhere.change_password(PASSWORD, NEW_PASSWORD)
    desk.page.get_by_text("Your session has ended. Sign in again to go on.").wait_for()
    desk.enter("Sign in", "alice", NEW_PASSWORD)
    desk.until(lambda: desk.drawn("bars") not in ("", "0"), "bars on the chart")


def test_closing_the_window_ends_its_streams(desk: Desk, platform: Demo) -> None:
    hub = next(listing for listing in platform.run.processes if listing.name == "stream-hub")

    def sockets() -> float:
        with urllib.request.urlopen(f"{hub.url}/metrics", timeout=10) as response:
            return next(
                float(line.split()[1]) for line in response.read().split(b"\n") if line.startswith(OPEN_SOCKETS)
            )

    desk.until(lambda: sockets() >= 2, "the window's streams")
    desk.close()
    end = time.monotonic() + WAIT_SECONDS
    while sockets():
        assert time.monotonic() < end, f"{sockets()} streams are left"
        time.sleep(0.2)
