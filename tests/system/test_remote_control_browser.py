"""Remote Control as a person meets it: headless Chromium opens the link and works on the simulated device's own web page."""

import os
import ssl
import struct
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.wait import WebDriverWait

from tests.system.chromium import DEADLINE, open_chromium
from tests.system.demo_house import RunningDemo
from tests.system.peers import ROOT, RunningGateway, needs

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver")]

DOOR = "0C1105000001"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningGateway]:
    with RunningGateway(tmp_path_factory.mktemp("remote")) as running:
        yield running


@pytest.fixture(scope="module")
def demo(gateway: RunningGateway) -> Iterator[dict[str, dict[str, Any]]]:
    with RunningDemo(gateway) as running:
        yield running.steps


@pytest.fixture
def new_browser(tmp_path: Path) -> Iterator[Callable[[], WebDriver]]:
    """Makes browsers, each with a profile of its own."""
    made: list[WebDriver] = []

    def make() -> WebDriver:
        browser = open_chromium(tmp_path / f"profile-{len(made)}", any_certificate=True)
        made.append(browser)
        return browser

    yield make
    for browser in made:
        browser.quit()


@pytest.fixture
def browser(new_browser: Callable[[], WebDriver]) -> WebDriver:
    return new_browser()


def new_link(gateway: RunningGateway) -> dict[str, Any]:
    answer = gateway.admin("POST", f"/devices/{DOOR}/remote-sessions", {})
    assert answer.status == 201, answer
    return dict(answer.json)


def soon(browser: WebDriver, true: Callable[[WebDriver], Any]) -> Any:
    """Wait for what scripts in another process do. A page that is being replaced meanwhile is looked at again."""
    return WebDriverWait(browser, DEADLINE, poll_frequency=0.05, ignored_exceptions=[WebDriverException]).until(true)


def element(browser: WebDriver, css: str) -> WebElement:
    found = browser.find_element(By.CSS_SELECTOR, css)
    assert isinstance(found, WebElement)
    return found


def text_of(css: str, wanted: str) -> Callable[[WebDriver], bool]:
    return lambda browser: wanted in element(browser, css).text


def pixels(browser: WebDriver, css: str) -> int:
    width = browser.execute_script("return document.querySelector(arguments[0]).naturalWidth", css)
    return int(width)


def log_in(browser: WebDriver, link: str, password: str) -> None:
    browser.get(link)
    soon(browser, lambda page: page.find_elements(By.ID, "login"))
    element(browser, "#password").send_keys(password)
    element(browser, "#submit").click()
    soon(browser, text_of("[data-field=mac]", "0C:11:05:00:00:01"))


def test_the_link_of_the_demo_opens_the_devices_own_page(browser: WebDriver, demo: dict[str, dict[str, Any]]) -> None:
    shown = demo["remote-control"]
    browser.get(shown["link"])
    soon(browser, lambda page: page.find_elements(By.ID, "login"))
    # The ticket is gone from the address, and what is left is an origin of this session alone.
    here = urlsplit(browser.current_url)
    assert here.hostname == urlsplit(shown["link"]).hostname
    assert here.hostname is not None
    assert here.hostname.endswith(".remote.localhost")
    assert ".portico" not in browser.current_url
    soon(browser, lambda page: pixels(page, "img.picture") > 0)

    element(browser, "#password").send_keys("guess")
    element(browser, "#submit").click()
    soon(browser, text_of("#message", "wrong"))
    assert browser.get_cookie("token") is None

    element(browser, "#password").send_keys(shown["web_password"])
    element(browser, "#submit").click()
    # A script fetches the status and writes it into the page.
    soon(browser, text_of("[data-field=mac]", "0C:11:05:00:00:01"))
    soon(browser, text_of("#registered", "Registered"))
    assert element(browser, "[data-field=account]").text == demo["door-phone-config"]["account"]
    assert "101, answered" in element(browser, "#calls").text
    soon(browser, lambda page: pixels(page, "img.camera") > 0)

    element(browser, "nav a[href='#account']").click()
    name = element(browser, "#name")
    name.clear()
    name.send_keys("Garden gate")
    element(browser, "#account form button").click()
    soon(browser, text_of("#device-name", "Garden gate"))
    assert browser.title == "Garden gate"
    assert urlsplit(browser.current_url).hostname == here.hostname


def test_a_relay_opened_on_the_page_enters_the_door_log(
    browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]]
) -> None:
    log_in(browser, new_link(gateway)["link"], demo["remote-control"]["web_password"])
    element(browser, "nav a[href='#relay']").click()
    soon(browser, text_of("#relays", "Front door"))
    element(browser, "#relays button[data-relay='1']").click()
    soon(browser, text_of("#relay-message", "Relay 1 triggered"))
    soon(browser, text_of("#relays", "Open"))

    def opened(_page: WebDriver) -> bool:
        entry = gateway.admin("GET", f"/door-log?site={demo['seed']['site']}").json["items"][0]
        return (entry["method"], entry["relay"], entry["by"]) == ("web", 1, "admin")

    soon(browser, opened)


def test_an_upload_goes_through_whole(
    browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    image = tmp_path / "29.30.10.239.zip"
    image.write_bytes(os.urandom(1 << 20) * 3)
    log_in(browser, new_link(gateway)["link"], demo["remote-control"]["web_password"])
    element(browser, "nav a[href='#upgrade']").click()
    element(browser, "#file").send_keys(str(image))
    element(browser, "#upload button").click()
    soon(browser, text_of("#upload-message", f"Received {3 << 20} bytes"))


def test_a_link_works_once_and_for_one_browser_only(
    browser: WebDriver, new_browser: Callable[[], WebDriver], gateway: RunningGateway, demo: dict[str, dict[str, Any]]
) -> None:
    session = new_link(gateway)
    log_in(browser, session["link"], demo["remote-control"]["web_password"])
    origin = "https://" + urlsplit(session["link"]).netloc
    stranger = new_browser()
    for address in (session["link"], origin + "/", origin + "/api/web/status"):
        stranger.get(address)
        refused = element(stranger, "body").text
        assert "0C:11:05" not in stranger.page_source
        assert not stranger.find_elements(By.ID, "login")
        assert not stranger.get_cookies()
        assert status_of(address, gateway) == 404, refused
    # The one it was made for is not disturbed, and used links do not help it either.
    browser.get(session["link"])
    assert not browser.find_elements(By.ID, "device-name")
    browser.get(origin + "/")
    soon(browser, text_of("[data-field=mac]", "0C:11:05:00:00:01"))


def test_a_revoked_session_ends_at_once(browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]]) -> None:
    session = new_link(gateway)
    log_in(browser, session["link"], demo["remote-control"]["web_password"])
    soon(browser, text_of("#live", "live"))
    assert gateway.admin("DELETE", f"/remote-sessions/{session['id']}").status in (200, 204)
    # The page asks every three seconds; the next time there is nobody to ask.
    soon(browser, text_of("#live", "no connection"))
    browser.get("https://" + urlsplit(session["link"]).netloc + "/")
    assert not browser.find_elements(By.ID, "device-name")


FETCH = """
const [address, done] = [arguments[0], arguments[arguments.length - 1]];
fetch(address, { credentials: "include" }).then((answer) => done("answered " + answer.status), (error) => done("failed"));
"""


def test_a_devices_page_and_the_gateways_api_do_not_reach_each_other(
    browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]]
) -> None:
    session = new_link(gateway)
    log_in(browser, session["link"], demo["remote-control"]["web_password"])
    host, port = gateway.address("admin")
    api = f"http://{host}:{port}/api/v1"
    origin = "https://" + urlsplit(session["link"]).netloc
    other = new_link(gateway)
    assert browser.execute_async_script(FETCH, "/api/web/status") == "answered 200"
    # From the device's page: neither the API, nor the node's metrics, nor another session.
    metrics_host, metrics_port = gateway.address("metrics")
    for address in (f"{api}/problems", f"http://{metrics_host}:{metrics_port}/metrics", other["link"]):
        assert browser.execute_async_script(FETCH, address) == "failed", address
    assert gateway.admin("GET", f"/remote-sessions/{other['id']}").json["state"] == "waiting", "the other's link was not spent"
    # From the API's origin: not the session, although the browser holds its cookie; and no cookie of it is seen.
    browser.get(f"{api}/problems")
    assert browser.execute_async_script(FETCH, f"{api}/problems") == "answered 200"
    assert browser.execute_async_script(FETCH, f"{origin}/api/web/status") == "failed"
    assert browser.get_cookies() == []
    browser.get(origin + "/")
    soon(browser, text_of("[data-field=mac]", "0C:11:05:00:00:01"))


def test_the_visitor_ends_the_session(browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]]) -> None:
    session = new_link(gateway)
    log_in(browser, session["link"], demo["remote-control"]["web_password"])
    origin = "https://" + urlsplit(session["link"]).netloc
    browser.get(origin + "/.portico/")
    element(browser, "form button").click()
    soon(browser, text_of("h1", "Session ended"))
    assert browser.get_cookie("__Host-portico") is None
    browser.get(origin + "/")
    assert not browser.find_elements(By.ID, "device-name")
    ended = gateway.admin("GET", f"/remote-sessions/{session['id']}").json
    assert (ended["state"], ended["end_reason"], ended["address"]) == ("ended", "logout", "127.0.0.1")


def test_the_page_is_worth_looking_at(browser: WebDriver, gateway: RunningGateway, demo: dict[str, dict[str, Any]]) -> None:
    log_in(browser, new_link(gateway)["link"], demo["remote-control"]["web_password"])
    soon(browser, text_of("#registered", "Registered"))
    soon(browser, lambda page: pixels(page, "img.camera") > 0)
    picture = browser.get_screenshot_as_png()
    width, height = struct.unpack(">II", picture[16:24])
    assert (width, height) >= (900, 500)
    kept = os.environ.get("PORTICO_SCREENSHOTS")
    if kept:
        (ROOT / kept / "remote-control.png").write_bytes(picture)


def status_of(address: str, gateway: RunningGateway) -> int:
    """The status a browser is not told, asked for without any cookie."""
    context = ssl.create_default_context(cafile=gateway.ready["ca_file"])
    context.check_hostname = False
    parts = urlsplit(address)
    request = urllib.request.Request(f"https://127.0.0.1:{parts.port}{parts.path}", headers={"Host": parts.netloc})
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=context))
    try:
        with opener.open(request, timeout=DEADLINE) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        with refused:
            return refused.code
