"""The browser app of tests/browser: JsSIP from npm and a page around it, bundled, served on loopback, and opened in Chromium.

npm installs by the lock file into .run/, once for each version of it.
"""

import base64
import fcntl
import functools
import hashlib
import http.server
import os
import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.remote.webdriver import WebDriver

from tests.system.chromium import open_chromium
from tests.system.peers import ROOT, program

SOURCES = ROOT / "tests" / "browser"
INSTALL_DEADLINE = 60.0
MEDIA_FLAGS = (
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    "--autoplay-policy=no-user-gesture-required",
    "--allow-loopback-in-peer-connection",
)
"""A microphone that beeps and that pages may use without asking; media may go over loopback."""


def build(folder: Path) -> None:
    """Put the page into this folder. Skips the test where npm cannot install what it needs."""
    modules = _installed() / "node_modules"
    shutil.copy(SOURCES / "index.html", folder)
    bundle = [str(modules / ".bin" / "esbuild"), "app.js", "--bundle", f"--outfile={folder / 'app.js'}", "--log-level=warning"]
    subprocess.run(bundle, cwd=SOURCES, env={**os.environ, "NODE_PATH": str(modules)}, check=True, timeout=INSTALL_DEADLINE)


def _installed() -> Path:
    """The folder that holds node_modules as the lock file has them."""
    version = hashlib.sha256((SOURCES / "package-lock.json").read_bytes()).hexdigest()[:16]
    folder = ROOT / ".run" / "browser-app" / version
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "complete").exists():
            for name in ("package.json", "package-lock.json"):
                shutil.copy(SOURCES / name, folder)
            command = [str(program("npm")), "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--fetch-retries=1"]
            try:
                subprocess.run(command, cwd=folder, capture_output=True, check=True, text=True, timeout=INSTALL_DEADLINE)
            except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as failed:
                pytest.skip(f"npm cannot install what tests/browser/package-lock.json names: {str(failed.stderr)[-300:]}")
            (folder / "complete").touch()
    return folder


class _Files(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


@contextmanager
def served(folder: Path) -> Iterator[int]:
    """The folder over HTTP; gives the port. Browsers hold http://localhost for as secure as HTTPS."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Files, directory=str(folder))) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield server.server_address[1]
        finally:
            server.shutdown()
            thread.join()


def key_of(address: tuple[str, int]) -> str:
    """The hash of the public key in a TLS server's certificate, as Chromium wants it."""
    certificate = x509.load_pem_x509_certificate(ssl.get_server_certificate(address).encode())
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return base64.b64encode(hashlib.sha256(key).digest()).decode()


def open_phone_browser(profile: Path, wss: tuple[str, int]) -> WebDriver:
    """Chromium with a microphone that believes the gateway's own certificate, and no other that is not signed as usual."""
    return open_chromium(profile, *MEDIA_FLAGS, f"--ignore-certificate-errors-spki-list={key_of(wss)}")


class Page:
    """The app in a window of its own. Events are taken in the order they are asked for: each `sees` looks behind the last."""

    def __init__(self, browser: WebDriver, address: str, account: str, password: str) -> None:
        self.account = account
        self.password = password
        self._browser = browser
        self._taken = 0
        browser.switch_to.new_window("window")
        self._window = browser.current_window_handle
        browser.get(address)

    def script(self, text: str, *arguments: Any) -> Any:
        """What a script in the page returns (a Promise is waited for)."""
        self._browser.switch_to.window(self._window)
        return self._browser.execute_script(text, *arguments)

    def starts(self, url: str) -> None:
        """Connect to the gateway and register."""
        settings = {"url": url, "account": self.account, "password": self.password, "domain": "gw.test"}
        self.script("app.start(arguments[0])", settings)

    def sees(self, name: str) -> dict[str, Any]:
        """The details of the next event of this name. AssertionError with all that did happen when it does not come."""
        try:
            details, self._taken = self.script("return app.next(arguments[0], arguments[1])", name, self._taken)
        except TimeoutException:
            raise AssertionError(f"no {name!r}, but {self.script('return app.events')}") from None
        return dict(details)

    def count(self, name: str) -> int:
        """How often this has happened since the page was loaded."""
        return int(self.script("return app.events.filter((event) => event[0] === arguments[0]).length", name))

    def sdp(self, which: str) -> str:
        """Of the last call: "local offer", "remote offer", "local answer" or "remote answer"."""
        return str(self.script("return app.sdp[arguments[0]]", which))

    def hears(self) -> bool:
        """Whether half a second of sound, not of silence, has arrived encrypted."""
        media = self.script("return app.media()")
        return bool(media["dtls"] == "connected" and media["packets"] >= 25 and media["energy"] > 0)

    def reloads(self) -> None:
        """What F5 does."""
        self._browser.switch_to.window(self._window)
        self._browser.refresh()
        self._taken = 0

    def close(self) -> None:
        """Close the window; the browser's first one stays."""
        self._browser.switch_to.window(self._window)
        self._browser.close()
        self._browser.switch_to.window(self._browser.window_handles[0])
