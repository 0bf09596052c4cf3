"""The dashboard as a person uses it: one open page, what it shows, and what went wrong in it."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, FrameLocator, Locator, Page

PASSWORD = "correct horse battery staple"
SCREENSHOTS = Path(__file__).parents[2] / ".crosstape" / "screenshots"
WAIT_SECONDS = 90.0


class Desk:
    """A window on the dashboard, of the browser `context`. `errors` is what its console called an error."""

    def __init__(self, context: BrowserContext, url: str):
        self._url = url
        self.errors: list[str] = []
        self._context = context
        self.page: Page = context.new_page()
        self.page.set_default_timeout(WAIT_SECONDS * 1_000)
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))

    def close(self) -> None:
        self._context.close()

    def second_window(self) -> Desk:
        """Another window of the same browser."""
        return Desk(self._context, self._url)

    def open(self) -> None:
        """Load the app anew."""
        self.page.goto(self._url)

    def enter(self, tab: str, username: str, password: str) -> None:
        """Fill in the form of this tab (Sign in, Register), and send it."""
        self.page.get_by_role("tab", name=tab).click()
        form = self.page.get_by_role("tabpanel", name=tab)
        form.get_by_label("Username").fill(username)
        form.get_by_label("Password", exact=True).fill(password)
        form.get_by_role("button", name="Create account" if tab == "Register" else "Sign in").click()

    def go(self, name: str) -> None:
        """To a page, by the navigation, which a phone hides behind a button."""
        expand = self.page.get_by_test_id("stExpandSidebarButton")
        if expand.is_visible():
            expand.click()
        self.page.get_by_role("link", name=name).click()

    @property
    def chart(self) -> FrameLocator:
        return self.page.frame_locator('iframe[title$="component.chart"]')

    def drawn(self, name: str) -> str:
        """What the chart says that it shows: market, bars, close, volume, time, fills, benchmarks, redraws, state."""
        return self.chart.locator("html").get_attribute(f"data-{name}") or ""

    def book(self) -> str:
        """The ladder's text."""
        return self.page.locator(".ct-book").inner_text()

    def order(self) -> Locator:
        """The newest order's card."""
        return self.page.locator(".ct-order").first

    def until(self, condition: Callable[[], object], what: str, seconds: float = WAIT_SECONDS) -> None:
        """Return once `condition` is true. Fails with a picture otherwise."""
        end = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > end:
                self.shoot("failed")
                raise AssertionError(f"not within {seconds:.0f} s: {what}")
            self.page.wait_for_timeout(200)

    def overflow(self) -> int:
        """By how many pixels the page is wider than the window."""
        widths = "[document.documentElement, document.querySelector('[data-testid=stMain]')]"
        return int(self.page.evaluate(f"Math.max(...{widths}.map((one) => one.scrollWidth - one.clientWidth))"))

    def shoot(self, name: str) -> None:
        """A picture of the window's top, into SCREENSHOTS."""
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        self.page.mouse.move(1, 1)  # off the chart, whose cross would follow it
        self.page.evaluate("document.querySelector('[data-testid=stMain]').scrollTo(0, 0)")
        self.page.screenshot(path=SCREENSHOTS / f"{name}.png")

    def _heard(self, message: ConsoleMessage) -> None:
        if message.type == "error":
            self.errors.append(message.text)


def new_desk(
    browser: Browser,
    url: str,
    *,
    width: int = 1440,
    height: int = 1000,
    scheme: Literal["light", "dark"] = "light",
) -> Desk:
    """A desk that shares nothing with the others: nobody is signed in."""
    return Desk(browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme), url)
