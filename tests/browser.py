"""A real browser, Debian's chromium, driven by Playwright, and what somebody does with the page in it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager

from playwright.sync_api import Browser, Page, expect, sync_playwright

PHONE = {"width": 360, "height": 640}
WAIT = 15_000
"""Milliseconds after which something on the page will not come any more."""


@contextmanager
def chromium() -> Iterator[Browser | None]:
    """The browser; None where none is installed."""
    path = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if path is None:
        yield None
        return
    # Nothing but this machine has an address, and root has no sandbox.
    alone = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=path, args=[alone], chromium_sandbox=hasattr(os, "getuid") and os.getuid() != 0
        )
        yield browser
        browser.close()


def choose(page: Page, model: str, task: str | None = None, **numbers: int) -> None:
    page.select_option("#model", model)
    if task is not None:
        page.check(f"input[name=task][value={task}]")
    for name, number in numbers.items():
        page.fill(f"#{name}", str(number))


def written(page: Page) -> list[str]:
    """The texts, once they are finished and shown."""
    page.click("#write")
    expect(page.locator("#said")).to_have_text("Written.", timeout=WAIT)
    last = page.get_attribute("#frame", "max")
    expect(page.locator("#frame")).to_have_value(str(last), timeout=WAIT)
    return shown(page)


def shown(page: Page) -> list[str]:
    return page.locator("#panels li").all_inner_texts()


def scrub(page: Page, place: int) -> None:
    page.locator("#frame").evaluate(
        "(slider, place) => { slider.value = place; slider.dispatchEvent(new Event('input')); }", place
    )
