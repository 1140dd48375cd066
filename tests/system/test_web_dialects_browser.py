"""Headless Chromium logs in to simulated pages of the older dialects through Remote Control and works on them.

(Dialect 3 is the demo's door phone: test_remote_control_browser.py.)
"""

import asyncio
import contextlib
import hashlib
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from simulators.web_dialect_1 import OldWebPage
from simulators.web_dialect_2 import TokenWebPage
from tests.system.chromium import DEADLINE, open_chromium
from tests.system.peers import needs
from tests.system.test_simulated_web_page import CONFIG, Phone
from tests.system.tunnel_site import MAC, Site, running, tunnel_site

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver")]


@contextlib.asynccontextmanager
async def opened(page: OldWebPage | TokenWebPage, folder: Path) -> AsyncIterator[tuple[Site, WebDriver, str]]:
    """A device with this page, and a browser that has a link to it."""
    await page.start("127.0.0.1", 0)
    try:
        async with tunnel_site() as site, running(site.make_agent(page.services())):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
            made = await site.make_session()
            browser = await asyncio.to_thread(open_chromium, folder / "profile", any_certificate=True)
            try:
                yield site, browser, site.visitors.link_url(made.record, made.link_path)
            finally:
                await asyncio.to_thread(browser.quit)
    finally:
        await page.stop()


def soon(browser: WebDriver, true: Callable[[WebDriver], Any]) -> Any:
    return WebDriverWait(browser, DEADLINE, poll_frequency=0.05, ignored_exceptions=[WebDriverException]).until(true)


def text_of(css: str, wanted: str) -> Callable[[WebDriver], bool]:
    return lambda browser: wanted in browser.find_element(By.CSS_SELECTOR, css).text


def click(browser: WebDriver, css: str) -> None:
    browser.find_element(By.CSS_SELECTOR, css).click()


def log_in(browser: WebDriver, password: str) -> None:
    soon(browser, lambda page: page.find_element(By.ID, "password")).send_keys(password)
    click(browser, "#submit")


@pytest.mark.parametrize("secure", [pytest.param(False, id="http", marks=pytest.mark.slow), pytest.param(True, id="https-308")])
async def test_dialect_1_pages_of_plain_forms(secure: bool, tmp_path: Path) -> None:
    """Cookies, absolute and relative links, redirects, MJPEG, an upload of 30 MB; over https the device's 308 is followed."""
    phone = Phone()
    async with opened(OldWebPage(phone, secure=secure), tmp_path) as (site, browser, link):
        image = tmp_path / "29.30.10.239.rom"
        content = os.urandom(1 << 20) * 30
        image.write_bytes(content)

        def work() -> None:
            browser.get(link)
            log_in(browser, "guess")
            soon(browser, text_of("#message", "wrong"))
            log_in(browser, CONFIG.web_password)
            soon(browser, text_of("#rows", MAC.colons))
            here = urlsplit(browser.current_url)
            assert (here.scheme, here.netloc, here.path) == ("https", urlsplit(link).netloc, "/fcgi/do")
            assert {cookie["name"] for cookie in browser.get_cookies()} >= {"UserName", "Password", "SessionId"}
            picture = "return document.querySelector('#camera').naturalWidth"
            soon(browser, lambda page: page.execute_script(picture) > 0)  # an endless answer that shows at once
            click(browser, "#relay")
            click(browser, "button[value='2']")
            soon(browser, text_of("#relays", "shut, open"))
            click(browser, "#upgrade")
            browser.find_element(By.ID, "file").send_keys(str(image))
            click(browser, "#send")
            soon(browser, text_of("#received", f"{len(content)} bytes, {hashlib.sha256(content).hexdigest()}"))
            click(browser, "#status")  # an absolute link to the device's own address
            soon(browser, text_of("#rows", MAC.colons))
            assert urlsplit(browser.current_url).netloc == here.netloc
            click(browser, "#logout")
            soon(browser, lambda page: page.find_element(By.ID, "password"))
            assert browser.get_cookie("SessionId") is None

        await asyncio.to_thread(work)
        assert phone.opened == [(2, "web", "admin")]
        assert [row[0] for row in site.recorder.certificates] == (["pinned"] if secure else [])


async def test_dialect_2_a_token_in_scripts_and_a_stream_of_events(tmp_path: Path) -> None:
    phone = Phone()
    async with opened(TokenWebPage(phone), tmp_path) as (_, browser, link):

        def work() -> None:
            browser.get(link)
            log_in(browser, "guess")
            soon(browser, text_of("#message", "wrong"))
            browser.find_element(By.ID, "password").clear()
            log_in(browser, CONFIG.web_password)
            soon(browser, text_of("#mac", MAC.colons))
            before = browser.find_element(By.ID, "uptime").text
            soon(browser, lambda page: page.find_element(By.ID, "uptime").text != before)  # live
            click(browser, "#open")
            soon(browser, text_of("#opened", "open shut"))

        await asyncio.to_thread(work)
        assert phone.opened == [(1, "web", "admin")]
