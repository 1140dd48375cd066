"""What a device does about its configuration: fetch by MAC, skip bytes it has, read what it can, keep the rest.

As akuvox-devices.md section 1 says: the URL is a directory, the file is the MAC in upper case, equal bytes (MD5) are not
applied again, a file changes only the keys it names. Factory devices check no certificate; `trust(None)` is that.
"""

import asyncio
import contextlib
import hashlib
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

import h11

from autop.cfg_format import MAX_FILE, read_as_device
from registry.mac import MacAddress
from simulators.device_config import DeviceConfig, Fetched
from simulators.device_settings import Settings, device_config

FETCH_SECONDS = 30.0
"""How long a device waits for a file, all in all."""
_CHUNK = 64 * 1024


class AutopFailed(OSError):
    """No answer came: no connection, none in time, a certificate that is not trusted, or something that is not HTTP."""


class NoConfiguration(ValueError):
    """The server answered, but with no file for this device; what the device has stays."""


def trust(ca_file: str | None) -> ssl.SSLContext:
    """A TLS context that trusts this CA only, or (None) checks nothing, as devices leave the factory."""
    if ca_file is not None:
        return ssl.create_default_context(cafile=ca_file)
    unchecked = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unchecked.check_hostname = False
    unchecked.verify_mode = ssl.CERT_NONE
    return unchecked


class AutopClient:
    """A device's autop (`Provisioning`): `fetch` whenever the device would ask. Holds the settings of all files so far."""

    def __init__(
        self, *, url: str, mac: MacAddress, tls: ssl.SSLContext | None, seconds: float = FETCH_SECONDS, common: str = ""
    ) -> None:
        """`url` is the directory from the installer, DHCP or the like; a configuration may move the device to another.

        `tls` may be shared by a whole fleet; it is not used for `http:`. `common`: the name of a file that it asks for before its
        own (`r000000000029.cfg`). Which models do, in which order, and what a 404 then does is not known: here it is passed over.
        """
        self._url = url
        self._mac = mac
        self._tls = tls
        self._seconds = seconds
        self._common = common
        self._common_md5 = b""
        self._settings = Settings()
        self._md5 = b""
        self._etag = b""
        self.skipped_lines = 0
        self.user_agent = "Akuvox"
        """What it says it is: a setting of the devices; some firmware writes its version there."""

    @property
    def url(self) -> str:
        """The directory that is asked next. Holds the device's token: not for logs."""
        return self._url

    def setting(self, key: str) -> str:
        """What the device holds under `Config.<key>`; empty where nothing."""
        return self._settings.text(key)

    def held(self) -> dict[str, str]:
        """The whole configuration, by full key."""
        return self._settings.all()

    def change(self, values: Mapping[str, str]) -> DeviceConfig:
        """Set keys from elsewhere than a file (the device's own API); returns what the device is now."""
        self._settings.apply(values)
        return device_config(self._settings)

    def factory_reset(self, url: str = "") -> None:
        """Forget everything but the URL in use, or have this one."""
        self._url = url or self._url
        self._settings = Settings()
        self._md5 = self._etag = self._common_md5 = b""

    async def fetch(self) -> Fetched:
        """Ask for `<MAC>.cfg` and apply it if its bytes are new; else (304, or the same MD5) `config` is None.

        Raises AutopFailed (an OSError) and NoConfiguration (a ValueError); then nothing has changed.
        """
        try:
            async with asyncio.timeout(self._seconds):
                has_more = bool(self._common) and await self._fetch_common()
                answer = await self._get(f"{self._url.rstrip('/')}/{self._mac}.cfg", self._etag)
        except AutopFailed:
            raise
        except (OSError, h11.ProtocolError) as failed:  # TimeoutError is an OSError
            raise AutopFailed(f"{type(failed).__name__}: {failed}") from failed
        etag, more = answer.etag.decode("latin-1"), device_config(self._settings) if has_more else None
        if answer.status == 304 and self._etag:
            return Fetched(0, etag, more)
        if answer.status != 200:
            raise NoConfiguration(f"the autop server answered {answer.status}")
        self._etag = answer.etag
        md5 = hashlib.md5(answer.body, usedforsecurity=False).digest()
        if md5 == self._md5:
            return Fetched(len(answer.body), etag, more)
        self._md5 = md5
        self._apply(answer.body)
        return Fetched(len(answer.body), etag, device_config(self._settings))

    async def _fetch_common(self) -> bool:
        """Apply the common file. Whether there is one, with other bytes than before."""
        answer = await self._get(f"{self._url.rstrip('/')}/{self._common}", b"")
        md5 = hashlib.md5(answer.body, usedforsecurity=False).digest()
        if answer.status != 200 or md5 == self._common_md5:
            return False
        self._common_md5 = md5
        self._apply(answer.body)
        return True

    def _apply(self, file: bytes) -> None:
        read = read_as_device(file)
        self._settings.apply(read.settings)
        self.skipped_lines = read.skipped
        url = self._settings.text("Autoprovision.GENERAL.Url")
        if url and url != self._url:
            self._url = url

    async def _get(self, url: str, held: bytes) -> "_Answer":
        parts = urlsplit(url)
        host, secure = parts.hostname or "", parts.scheme == "https"
        if not host or parts.scheme not in ("http", "https") or (secure and self._tls is None):
            raise AutopFailed("the autop URL is neither http: nor https: with a trust to check it by")
        reader, writer = await asyncio.open_connection(
            host, parts.port or (443 if secure else 80), ssl=self._tls if secure else None
        )
        try:
            return await self._exchange(reader, writer, parts.netloc, parts.path, held)
        finally:
            writer.close()
            with contextlib.suppress(OSError, TimeoutError):
                await writer.wait_closed()

    async def _exchange(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, host: str, path: str, held: bytes
    ) -> "_Answer":
        http = h11.Connection(h11.CLIENT)
        headers = [("Host", host), ("User-Agent", self.user_agent), ("Connection", "close")]
        if held:
            headers.append(("If-None-Match", held.decode("latin-1")))
        writer.write(http.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
        writer.write(http.send(h11.EndOfMessage()) or b"")
        status, etag, body = 0, b"", bytearray()
        while True:
            event = http.next_event()
            if event is h11.NEED_DATA:
                http.receive_data(await reader.read(_CHUNK))
            elif isinstance(event, h11.Response):
                status = event.status_code
                etag = next((value for name, value in event.headers if name == b"etag"), b"")
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > MAX_FILE:
                    raise AutopFailed(f"a file of more than {MAX_FILE} bytes")
            elif isinstance(event, h11.EndOfMessage):
                return _Answer(status, etag, bytes(body))


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    etag: bytes
    body: bytes
