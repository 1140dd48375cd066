"""Two real web applications behind the tunnel, in headless Chromium: copyparty (uploads in pieces), JupyterLab (WebSockets)."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from selenium.common.exceptions import WebDriverException
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.system.chromium import open_chromium
from tests.system.peers import free_tcp_port, needs
from tests.system.tunnel_site import MAC, Site, running, tunnel_site
from tests.system.web_app_install import installed

pytestmark = [pytest.mark.system, needs("chromium", "chromedriver")]

START = 60.0
WAIT = 40.0
"""Seconds: these are big programs, and the machine may be busy."""


@contextlib.asynccontextmanager
async def behind_the_tunnel(
    command: list[str], port: int, folder: Path, environment: Mapping[str, str]
) -> AsyncIterator[tuple[Site, WebDriver, str]]:
    """The application as a device's page, a browser, and the link that opens it."""
    with (folder / "app.log").open("wb") as log:
        app = await asyncio.create_subprocess_exec(
            *command, cwd=folder, env={**os.environ, "HOME": str(folder), **environment}, stdout=log, stderr=log
        )
    try:
        async with asyncio.timeout(START):
            while not await _listens(port):
                assert app.returncode is None, (folder / "app.log").read_text()[-2000:]
                await asyncio.sleep(0.1)  # it says nothing to us
        async with tunnel_site() as site, running(site.make_agent({"web": ("127.0.0.1", port)})):
            await site.recorder.until(lambda: site.channel.link(MAC) is not None)
            made = await site.make_session()
            browser = await asyncio.to_thread(open_chromium, folder / "profile", any_certificate=True)
            try:
                yield site, browser, site.visitors.link_url(made.record, made.link_path)
            finally:
                await asyncio.to_thread(browser.quit)
    finally:
        app.terminate()
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(app.wait(), 10)
        if app.returncode is None:
            app.kill()
            await app.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def soon(browser: WebDriver, true: Callable[[WebDriver], Any]) -> Any:
    return WebDriverWait(browser, WAIT, poll_frequency=0.1, ignored_exceptions=[WebDriverException]).until(true)


def clicked(css: str) -> Callable[[WebDriver], bool]:
    """Click it, once it is there and takes clicks."""

    def click(browser: WebDriver) -> bool:
        browser.find_element(By.CSS_SELECTOR, css).click()
        return True

    return click


def element(css: str) -> Callable[[WebDriver], Any]:
    return lambda browser: browser.find_element(By.CSS_SELECTOR, css)


def whole(file: Path, content: bytes) -> bool:
    return file.exists() and file.stat().st_size == len(content) and file.read_bytes() == content


async def test_copyparty_takes_an_upload_of_30_mb(tmp_path: Path) -> None:
    python, port = await asyncio.to_thread(installed, "copyparty"), free_tcp_port()
    shared = tmp_path / "shared"
    (shared / "inner").mkdir(parents=True)
    content = os.urandom(1 << 20) * 30
    (tmp_path / "firmware.rom").write_bytes(content)
    command = [str(python), "-m", "copyparty", "-q", "-i", "127.0.0.1", "-p", str(port), "--no-thumb", "--no-crt", "-j1"]
    command += ["-a", "anna:secret", "-v", f"{shared}::A,anna"]
    async with behind_the_tunnel(command, port, tmp_path, {}) as (site, browser, link):

        def work() -> None:
            browser.get(link)
            soon(browser, element("input[type=password]")).send_keys("secret" + Keys.ENTER)
            soon(browser, element("#blogout"))
            soon(browser, clicked("#files a[href='/inner/']"))
            soon(browser, lambda page: urlsplit(page.current_url).path == "/inner/")
            soon(browser, clicked("#opa_up"))
            soon(browser, element("#file1")).send_keys(str(tmp_path / "firmware.rom"))
            soon(browser, clicked("#modal-ok"))
            soon(browser, lambda _page: whole(shared / "inner" / "firmware.rom", content))
            soon(browser, element("#files a[href*='firmware.rom']"))

        await asyncio.to_thread(work)
        assert urlsplit(browser.current_url).netloc == urlsplit(link).netloc
        assert site.recorder.visitor_refusals == []


NOTEBOOK = {
    "cells": [
        {
            "cell_type": "code",
            "execution_count": None,
            "id": "a",
            "metadata": {},
            "outputs": [],
            "source": "import os, time\nprint('line', 6 + 1, flush=True)\nwhile not os.path.exists('go'):\n    time.sleep(0.05)\n"
            "print('line', 6 + 7, flush=True)",
        }
    ],
    "metadata": {"kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"}},
    "nbformat": 4,
    "nbformat_minor": 5,
}


@pytest.mark.slow  # half a minute of pip the first time, and a quarter of one to start it
async def test_jupyterlab_runs_a_notebook_over_its_websocket(tmp_path: Path) -> None:
    python, port = await asyncio.to_thread(installed, "jupyterlab"), free_tcp_port()
    (tmp_path / "note.ipynb").write_text(json.dumps(NOTEBOOK))
    command = [str(python), "-m", "jupyterlab", "--no-browser", "--allow-root", "--ServerApp.ip=127.0.0.1"]
    command += [f"--ServerApp.port={port}", "--IdentityProvider.token=secret-token", f"--ServerApp.root_dir={tmp_path}"]
    async with behind_the_tunnel(command, port, tmp_path, {}) as (site, browser, link):

        def work() -> None:
            browser.get(link)
            soon(browser, element("#password_input")).send_keys("secret-token" + Keys.ENTER)
            soon(browser, lambda page: urlsplit(page.current_url).path == "/lab")
            browser.get(f"https://{urlsplit(link).netloc}/lab/tree/note.ipynb")
            soon(browser, element(".jp-Notebook .jp-CodeCell"))
            output = ".jp-OutputArea-output"
            # The kernel is there, which is told over the WebSocket; earlier the keys would only open a dialog.
            soon(browser, lambda page: "| Idle" in page.find_element(By.ID, "jp-main-statusbar").text)
            browser.find_element(By.CSS_SELECTOR, ".jp-CodeCell .cm-content").send_keys(Keys.SHIFT, Keys.ENTER)
            soon(browser, lambda page: page.find_element(By.CSS_SELECTOR, output).text == "line 7")  # as it comes
            (tmp_path / "go").touch()
            soon(browser, lambda page: page.find_element(By.CSS_SELECTOR, output).text == "line 7\nline 13")

        await asyncio.to_thread(work)
        assert site.recorder.visitor_refusals == []
        assert "101 GET /api/kernels" in (log := (tmp_path / "app.log").read_text()) or "Connecting to kernel" in log
