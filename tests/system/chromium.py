"""Headless Chromium as this kind of machine needs it, driven by selenium."""

from pathlib import Path

from selenium import webdriver
from selenium.webdriver.remote.webdriver import WebDriver

from tests.system.peers import program

DEADLINE = 20.0
"""Seconds for a page to load, and for what its scripts do."""
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--window-size=1024,720",
)
"""Without the networking flags Chromium calls out to hosts that are not there."""


def open_chromium(profile: Path, *flags: str, any_certificate: bool = False) -> WebDriver:
    """A browser with a profile of its own; `quit` it. `any_certificate`: it believes every server."""
    options = webdriver.ChromeOptions()
    options.binary_location = program("chromium") or ""
    options.accept_insecure_certs = any_certificate
    for flag in (*FLAGS, *flags, f"--user-data-dir={profile}"):
        options.add_argument(flag)
    browser = webdriver.Chrome(options=options, service=webdriver.ChromeService(program("chromedriver")))
    browser.set_page_load_timeout(DEADLINE)
    browser.set_script_timeout(DEADLINE)
    return browser
